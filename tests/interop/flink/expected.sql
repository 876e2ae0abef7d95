-- The same sums at the source.
SET NAMES utf8mb4, time_zone = '+00:00';
SELECT COUNT(*), SUM(id), SUM(tiny), SUM(small_u), SUM(medium), SUM(big), SUM(big_u), SUM(price), SUM(amount), SUM(f), SUM(d),
  SUM(CHAR_LENGTH(name)), SUM(CHAR_LENGTH(note)), COUNT(raw), SUM(DATEDIFF(day, '1970-01-01')),
  SUM(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', at) DIV 1000), SUM(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', at6)),
  REPLACE(MIN(ts), ' ', 'T'), REPLACE(MAX(ts6), ' ', 'T'), SUM(TIME_TO_SEC(t) * 1000000),
  CAST(SUM(TIME_TO_SEC(t6) * 1000000) AS DECIMAL(38, 0)), MAX(doc)
FROM types;
