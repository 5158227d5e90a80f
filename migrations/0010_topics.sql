-- How many partitions of each topic of events somebody has agreed to. With another number a key lies in another partition
-- than its earlier records, and nothing keeps their order: the relay holds such a topic's events until
-- `docfleet setup --accept-partitions` says otherwise. A topic without a row is not checked.
CREATE TABLE pipeline.topics (
    topic       text        PRIMARY KEY,
    partitions  integer     NOT NULL CHECK (partitions > 0),
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
