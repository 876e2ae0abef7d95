-- The rows of the table as text, in UTC and by key: what each subscriber's view of the topic must come to. Fractions have six
-- digits, as events do not say how many a column keeps.
SET NAMES utf8mb4, time_zone = '+00:00';
SELECT id, tiny, small_u, medium, big, big_u, price, amount, f, d, name, note, HEX(raw), day, CAST(at AS datetime(6)), at6,
  CAST(ts AS datetime(6)), ts6, CAST(t AS time(6)), t6, doc
FROM types ORDER BY id;
