CREATE INDEX customers_country ON customers (country);
