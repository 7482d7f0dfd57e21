"""How long usage is kept, as people set it; features that rollups tell apart; how large tables were, for forecasts of disk."""

from django.db import migrations

TABLES = """
CREATE TABLE usage_retention (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    request_days integer NOT NULL CHECK (request_days BETWEEN 1 AND 3650),
    minute_days integer NOT NULL CHECK (minute_days BETWEEN 8 AND 3650),
    hour_days integer NOT NULL CHECK (hour_days BETWEEN 400 AND 3650),
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE usage_retention IS 'One row where somebody set it, else none (apps/usage/retention.py)';

CREATE TABLE usage_feature (
    organisation text COLLATE "C" NOT NULL,
    day date NOT NULL,
    feature text COLLATE "C" NOT NULL,
    PRIMARY KEY (organisation, day, feature)
);
COMMENT ON TABLE usage_feature IS 'Features of a day that the rollups tell apart (apps/usage/features.py)';

CREATE TABLE usage_storage (
    day date NOT NULL,
    name text COLLATE "C" NOT NULL,
    bytes bigint NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (day, name)
);
COMMENT ON TABLE usage_storage IS 'Sizes of groups of tables at the last look of each day (apps/usage/storage.py)';
"""
DROP = "DROP TABLE usage_retention, usage_feature, usage_storage;"


class Migration(migrations.Migration):
    dependencies = [("usage", "0013_captures")]
    operations = [migrations.RunSQL(TABLES, DROP)]
