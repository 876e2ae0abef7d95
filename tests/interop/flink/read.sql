-- The types table as Flink SQL sees it. A column's type is the Avro field's: days, milliseconds and microseconds stay numbers.
CREATE TABLE types (
  id      BIGINT,
  tiny    INT,
  small_u INT,
  medium  INT,
  big     BIGINT,
  big_u   DECIMAL(20, 0),
  price   DECIMAL(38, 10),
  amount  DECIMAL(10, 2),
  f       FLOAT,
  d       DOUBLE,
  name    STRING,
  note    STRING,
  `raw`   BYTES,
  `day`   INT,
  `at`    BIGINT,
  at6     BIGINT,
  ts      STRING,
  ts6     STRING,
  t       BIGINT,
  t6      BIGINT,
  doc     STRING
) WITH (
  'connector' = 'kafka',
  'topic' = '${TOPIC}',
  'properties.bootstrap.servers' = '${BROKERS}',
  'properties.isolation.level' = 'read_committed',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'debezium-avro-confluent',
  'debezium-avro-confluent.url' = '${REGISTRY}',
  'debezium-avro-confluent.basic-auth.credentials-source' = 'USER_INFO',
  'debezium-avro-confluent.basic-auth.user-info' = 'flink:${TOKEN}'
);
SELECT COUNT(*), SUM(id), SUM(tiny), SUM(small_u), SUM(medium), SUM(big), SUM(big_u), SUM(price), SUM(amount), SUM(f), SUM(d),
  SUM(CHAR_LENGTH(name)), SUM(CHAR_LENGTH(note)), COUNT(`raw`), SUM(`day`), SUM(`at`), SUM(at6), MIN(ts), MAX(ts6), SUM(t),
  SUM(t6), MAX(doc)
FROM types;
