"""Those who look with a browser: their sessions, the links that begin one, and the session in the audit log.

Online: two new tables, and a column that needs no rewriting. Versions from before know nothing of it, and need not.
"""

from alembic import op

revision = "0025"
down_revision = "0024"

SESSIONS = """
CREATE TABLE IF NOT EXISTS dispatcher.sessions (
    id UUID NOT NULL,
    secret_sha256 BYTEA NOT NULL,
    kind TEXT NOT NULL,
    key_id UUID,
    account_id UUID,
    scopes TEXT[] NOT NULL,
    user_label TEXT,
    embed_origin TEXT,
    return_url TEXT,
    theme TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    proved_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_secret_sha256_key UNIQUE (secret_sha256),
    CONSTRAINT sessions_kind_check CHECK (kind IN ('console', 'portal'))
)
"""
LINKS = """
CREATE TABLE IF NOT EXISTS dispatcher.portal_links (
    id UUID NOT NULL,
    secret_sha256 BYTEA NOT NULL,
    kind TEXT NOT NULL,
    key_id UUID,
    account_id UUID,
    scopes TEXT[] NOT NULL,
    user_label TEXT,
    embed_origin TEXT,
    return_url TEXT,
    theme TEXT,
    path TEXT NOT NULL,
    session_seconds INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT portal_links_pkey PRIMARY KEY (id),
    CONSTRAINT portal_links_kind_check CHECK (kind IN ('console', 'portal'))
)
"""
INDEXES = (
    "CREATE INDEX IF NOT EXISTS sessions_account_id_id_idx ON dispatcher.sessions (account_id, id)",
    "CREATE INDEX IF NOT EXISTS sessions_key_id_id_idx ON dispatcher.sessions (key_id, id)",
    "CREATE INDEX IF NOT EXISTS sessions_expires_at_idx ON dispatcher.sessions (expires_at)",
    "CREATE INDEX IF NOT EXISTS portal_links_account_id_id_idx ON dispatcher.portal_links (account_id, id)",
)
AUDIT = "ALTER TABLE dispatcher.audit ADD COLUMN IF NOT EXISTS session_id UUID"


def upgrade() -> None:
    for statement in (SESSIONS, LINKS, *INDEXES, AUDIT):
        op.execute(statement)
