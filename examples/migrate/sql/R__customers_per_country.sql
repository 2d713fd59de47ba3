-- Made anew each time: a summary for the reports.
CREATE TABLE IF NOT EXISTS customers_per_country (country text, customers bigint);
DELETE FROM customers_per_country;
INSERT INTO customers_per_country SELECT country, count(*) FROM customers GROUP BY country;
