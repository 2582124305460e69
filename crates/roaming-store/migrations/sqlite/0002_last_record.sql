-- The time that the log gives the last record counted, the one before `next_offset`, in milliseconds since
-- 1970: a log that was made anew has another record there. Empty where nobody knows.
ALTER TABLE partitions ADD COLUMN last_record_ms INTEGER;
