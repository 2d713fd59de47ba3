CREATE TABLE customers (id bigserial PRIMARY KEY, name text NOT NULL, country text NOT NULL DEFAULT 'DE');
INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, 1000) n;
