-- A report table that is made anew each time.
CREATE TABLE IF NOT EXISTS report_countries (made timestamptz, n bigint);
DELETE FROM report_countries;
INSERT INTO report_countries SELECT now(), count(*) FROM customers;
