-- A report table that is made anew each time.
CREATE TABLE IF NOT EXISTS report_newest (made timestamptz, n bigint);
DELETE FROM report_newest;
INSERT INTO report_newest SELECT now(), count(*) FROM customers;
