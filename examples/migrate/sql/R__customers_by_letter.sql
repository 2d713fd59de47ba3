CREATE TABLE IF NOT EXISTS customers_by_letter (letter text, customers bigint);
DELETE FROM customers_by_letter;
INSERT INTO customers_by_letter SELECT left(name, 1), count(*) FROM customers GROUP BY 1;
