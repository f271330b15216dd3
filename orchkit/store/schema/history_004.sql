-- Each look at a service: what was found, or why there was no look. `status` holds for `holds_us` at most.
CREATE TABLE health_check (
    seq BIGINT, ts BIGINT, service VARCHAR, status VARCHAR, performed BOOLEAN, reason VARCHAR, response_ms DOUBLE,
    error VARCHAR, circuit_state VARCHAR, consecutive_failures BIGINT, holds_us BIGINT, details VARCHAR
);
-- Times in which a service is meant to be away; the last row of a service and a beginning counts.
CREATE TABLE health_maintenance (
    seq BIGINT, ts BIGINT, service VARCHAR, from_us BIGINT, until_us BIGINT, reason VARCHAR
);
