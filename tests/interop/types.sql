-- A table of the common types, and changes of it: what the subscribers of deploy/interop read.
CREATE TABLE types (
  id      int unsigned NOT NULL PRIMARY KEY,
  tiny    tinyint NULL,
  small_u smallint unsigned NULL,
  medium  mediumint NULL,
  big     bigint NULL,
  big_u   bigint unsigned NULL,
  price   decimal(38,10) NULL,
  amount  decimal(10,2) NOT NULL,
  f       float NULL,
  d       double NULL,
  name    varchar(100) NOT NULL,
  note    text NULL,
  raw     varbinary(20) NULL,
  day     date NULL,
  at      datetime NULL,
  at6     datetime(6) NULL,
  ts      timestamp NULL,
  ts6     timestamp(6) NULL,
  t       time NULL,
  t6      time(6) NULL,
  doc     json NULL
);
INSERT INTO types VALUES
  (1, -128, 65535, 8388607, -9223372036854775808, 18446744073709551615, 999999999999999999999999999.9999999999,
   1.05, 1.5, 2.25, 'grün 🦦 漢字', 'a text', x'00FF', '2026-02-28', '1000-01-01 00:00:00', '9999-12-31 23:59:59.999999',
   '2038-01-19 03:14:07', '2026-11-22 10:00:00.123456', '23:59:59', '00:00:00.000001', '{"a": 1, "b": [null]}'),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, -0.01, NULL, NULL, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, 127, 0, -8388608, 9223372036854775807, 0, -0.0000000001, 99999998.99, -1.25, 0.5, 'x', '', x'', '1000-01-01',
   '2026-06-01 12:00:00', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:01', '1970-01-01 00:00:01.000001', '00:00:00',
   '12:34:56.789012', '[]');
INSERT INTO types (id, big, big_u, price, amount, d, name, note, raw, day, at, at6, ts, t6)
  SELECT 100 + seq, seq * 1000003, 18446744073709551615 - seq, seq / 7, seq / 100, seq / 4 + 0.125, CONCAT('row ', seq),
    REPEAT('n', seq % 50), UNHEX(LPAD(HEX(seq), 8, '0')), DATE '2026-01-01' + INTERVAL seq DAY,
    TIMESTAMP '2026-01-01 00:00:00' + INTERVAL seq SECOND, TIMESTAMP '2026-01-01 00:00:00' + INTERVAL seq * 1001 MICROSECOND,
    TIMESTAMP '2026-01-01 00:00:00' + INTERVAL seq MINUTE, SEC_TO_TIME(seq + 0.000001 * seq)
  FROM seq_1_to_1000;
UPDATE types SET amount = amount + 1, note = 'changed' WHERE id % 3 = 0;
DELETE FROM types WHERE id % 7 = 0;
UPDATE types SET id = id + 10000 WHERE id % 100 = 1 AND id > 100;
