CREATE DATABASE IF NOT EXISTS `otter` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS `otter`.`progress` (
  `pipeline` varchar(128) NOT NULL,
  `topic` varchar(249) NOT NULL,
  `partition` int NOT NULL,
  `topic_id` varchar(64) NOT NULL DEFAULT '',
  `next_offset` bigint NOT NULL,
  `ordinal` bigint NOT NULL,
  `owner` char(32) NOT NULL DEFAULT '',
  `document_version` int NOT NULL DEFAULT 0,
  `request_id` varchar(64) NOT NULL DEFAULT '',
  `updated_at` datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
  `generation` int NOT NULL DEFAULT 0,
  `replay_until` bigint NOT NULL DEFAULT -1,
  `replay_past` varchar(512) NOT NULL DEFAULT '',
  `replay_rewritten` bigint NOT NULL DEFAULT 0,
  `replay_restored` bigint NOT NULL DEFAULT 0,
  `replay_removed` bigint NOT NULL DEFAULT 0,
  `replay_missing` bigint NOT NULL DEFAULT 0,
  `start_gtid` text NULL,
  `targets` text NULL,
  PRIMARY KEY (`pipeline`, `topic`, `partition`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
