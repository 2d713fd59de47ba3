-- A report table that is made anew each time.
CREATE TABLE IF NOT EXISTS report_names (made timestamptz, n bigint);
DELETE FROM report_names;
INSERT INTO report_names SELECT now(), count(*) FROM customers;
