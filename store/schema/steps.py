"""The schema as plain data: every step from an empty file to today's, in order.

`store.schema.migrations` hands the steps to sqlite-utils; kept apart so that a process which only reads
does not import it. A step, once released, never changes: add another.
"""

from __future__ import annotations

APPLICATION_ID = 0x73706374
"""`PRAGMA application_id` of our files ("spct"), by which `file` and we know them."""

MIGRATION_SET = "spectui"
MIGRATIONS_TABLE = "_sqlite_migrations"
BINS_STEP = "0007_bins"

_INITIAL = (
    """
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL,
        stage TEXT NOT NULL DEFAULT '',
        stage_done REAL,
        stage_total REAL,
        stage_unit TEXT NOT NULL DEFAULT '',
        pid INTEGER,
        pid_created REAL,
        host TEXT NOT NULL DEFAULT '',
        heartbeat_at TEXT,
        created_at TEXT NOT NULL,
        started_at TEXT,
        ended_at TEXT,
        config TEXT NOT NULL,
        target TEXT NOT NULL,
        drafter TEXT NOT NULL,
        tree TEXT NOT NULL,
        device TEXT NOT NULL DEFAULT '',
        tokenizer_id TEXT NOT NULL DEFAULT '',
        versions TEXT NOT NULL DEFAULT '{}',
        notes TEXT NOT NULL DEFAULT '',
        error TEXT,
        prompt_count INTEGER NOT NULL,
        baseline_ms REAL,
        cpu_percent REAL,
        rss_bytes INTEGER,
        gpu TEXT,
        log_path TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE generation (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        prompt_id TEXT NOT NULL,
        task TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'pending',
        finish_reason TEXT,
        prompt_tokens INTEGER,
        token_count INTEGER NOT NULL DEFAULT 0,
        round_count INTEGER NOT NULL DEFAULT 0,
        node_count INTEGER NOT NULL DEFAULT 0,
        match_count INTEGER NOT NULL DEFAULT 0,
        accepted_count INTEGER NOT NULL DEFAULT 0,
        at_risk_count INTEGER NOT NULL DEFAULT 0,
        overlap_sum REAL NOT NULL DEFAULT 0,
        overlap_count INTEGER NOT NULL DEFAULT 0,
        draft_ms REAL NOT NULL DEFAULT 0,
        verify_ms REAL NOT NULL DEFAULT 0,
        other_ms REAL NOT NULL DEFAULT 0,
        started_at TEXT,
        ended_at TEXT,
        error TEXT,
        -- The long texts come last: SQLite reads a row from its start and stops at the last column asked for.
        prompt_text TEXT NOT NULL,
        output TEXT NOT NULL DEFAULT '',
        UNIQUE (session_id, position)
    )
    """,
    # Covers the counts per session in the list of sessions, which must not touch the texts.
    "CREATE INDEX generation_progress ON generation (session_id, task, position, status)",
    """
    CREATE TABLE round (
        id INTEGER PRIMARY KEY,
        generation_id INTEGER NOT NULL REFERENCES generation(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        prefix_length INTEGER NOT NULL,
        accepted_length INTEGER NOT NULL,
        bonus_token_id INTEGER,
        cut TEXT,
        node_count INTEGER NOT NULL,
        draft_ms REAL NOT NULL,
        verify_ms REAL NOT NULL,
        other_ms REAL NOT NULL,
        UNIQUE (generation_id, number)
    )
    """,
    """
    CREATE TABLE node (
        round_id INTEGER NOT NULL REFERENCES round(id) ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        parent INTEGER,
        depth INTEGER NOT NULL,
        rank INTEGER NOT NULL,
        token_id INTEGER NOT NULL,
        draft_p REAL,
        target_p REAL NOT NULL,
        draft_entropy REAL,
        target_entropy REAL NOT NULL,
        "match" INTEGER NOT NULL,
        accepted INTEGER NOT NULL,
        PRIMARY KEY (round_id, idx)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE token (
        tokenizer_id TEXT NOT NULL,
        token_id INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (tokenizer_id, token_id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rollup_task (
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        prompts INTEGER NOT NULL DEFAULT 0,
        rounds INTEGER NOT NULL DEFAULT 0,
        nodes INTEGER NOT NULL DEFAULT 0,
        tokens INTEGER NOT NULL DEFAULT 0,
        match_count INTEGER NOT NULL DEFAULT 0,
        at_risk_count INTEGER NOT NULL DEFAULT 0,
        accepted_count INTEGER NOT NULL DEFAULT 0,
        overlap_sum REAL NOT NULL DEFAULT 0,
        overlap_count INTEGER NOT NULL DEFAULT 0,
        draft_ms REAL NOT NULL DEFAULT 0,
        verify_ms REAL NOT NULL DEFAULT 0,
        other_ms REAL NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, task)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rollup_length (
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        accepted_length INTEGER NOT NULL,
        rounds INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, task, accepted_length)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rollup_depth (
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        depth INTEGER NOT NULL,
        nodes INTEGER NOT NULL DEFAULT 0,
        match_count INTEGER NOT NULL DEFAULT 0,
        at_risk_count INTEGER NOT NULL DEFAULT 0,
        accepted_count INTEGER NOT NULL DEFAULT 0,
        overlap_sum REAL NOT NULL DEFAULT 0,
        overlap_count INTEGER NOT NULL DEFAULT 0,
        rounds_at_risk INTEGER NOT NULL DEFAULT 0,
        rounds_reached INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, task, depth)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE command (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        created_at TEXT NOT NULL,
        taken_at TEXT
    )
    """,
    "CREATE INDEX command_session ON command (session_id, taken_at)",
)

_TAGS = ("ALTER TABLE session ADD COLUMN tags TEXT NOT NULL DEFAULT ''",)

_EVENTS = (
    # What the models of the session were read from, by role: {"target": {"config.json": digest, ...}, ...}.
    "ALTER TABLE session ADD COLUMN model_files TEXT NOT NULL DEFAULT '{}'",
    """
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        generation_id INTEGER REFERENCES generation(id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,
        text TEXT NOT NULL
    )
    """,
    "CREATE INDEX event_session ON event (session_id)",
    "CREATE INDEX event_generation ON event (generation_id) WHERE generation_id IS NOT NULL",
)

_BLOCKS = (
    # What stretches of a prompt's rounds add to the figures, so that the figures at any moment of a session
    # cost no read of its nodes; see `store.counts.rollups`. A stretch begins after the one before it and ends with
    # round `last`; what no stretch covers yet is counted from the nodes.
    """
    CREATE TABLE rollup_block (
        generation_id INTEGER NOT NULL REFERENCES generation(id) ON DELETE CASCADE,
        last INTEGER NOT NULL,
        rounds INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        accepted_count INTEGER NOT NULL,
        draft_ms REAL NOT NULL,
        verify_ms REAL NOT NULL,
        other_ms REAL NOT NULL,
        PRIMARY KEY (generation_id, last)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE rollup_block_depth (
        generation_id INTEGER NOT NULL REFERENCES generation(id) ON DELETE CASCADE,
        last INTEGER NOT NULL,
        depth INTEGER NOT NULL,
        nodes INTEGER NOT NULL,
        match_count INTEGER NOT NULL,
        at_risk_count INTEGER NOT NULL,
        accepted_count INTEGER NOT NULL,
        overlap_sum REAL NOT NULL,
        overlap_count INTEGER NOT NULL,
        rounds_at_risk INTEGER NOT NULL,
        rounds_reached INTEGER NOT NULL,
        PRIMARY KEY (generation_id, last, depth)
    ) WITHOUT ROWID
    """,
    # Sessions from before: stretches of 128 rounds, as the writer makes them. What at risk and overlap are is
    # written out, because a step stays what it was when it was released.
    """
    INSERT INTO rollup_block
    SELECT generation_id, max(number), count(*), sum(accepted_length) + count(bonus_token_id), sum(accepted_length),
           sum(draft_ms), sum(verify_ms), sum(other_ms)
    FROM round GROUP BY generation_id, (number - 1) / 128
    """,
    """
    INSERT INTO rollup_block_depth
    SELECT generation_id, last, depth, count(*), sum("match"), sum(risk), sum(accepted), total(overlap), count(overlap),
           count(DISTINCT CASE WHEN risk THEN round_id END), sum(accepted)
    FROM (
        SELECT round.generation_id, round.id AS round_id, node.depth, node."match", node.accepted,
               (SELECT min(last) FROM rollup_block
                WHERE generation_id = round.generation_id AND last >= round.number) AS last,
               (node.parent IS NULL OR parent.accepted)
                   AND (round.cut IS NULL OR node.depth <= round.accepted_length) AS risk,
               CASE WHEN node.draft_p IS NULL THEN NULL WHEN node.draft_p <= node.target_p THEN 1.0
                    ELSE node.target_p / node.draft_p END AS overlap
        FROM round
        JOIN node ON node.round_id = round.id
        LEFT JOIN node AS parent ON parent.round_id = node.round_id AND parent.idx = node.parent
    )
    GROUP BY generation_id, last, depth
    """,
)

_PRUNED = (
    # Set while the rows of a deleted session are being removed, bit by bit; it is shown no more.
    "ALTER TABLE session ADD COLUMN deleted_at TEXT",
    # A prompt of which only the nodes on the committed paths were kept; `counts` is what a recount of all of
    # them gave, as `store.counts.recount.to_json` writes it, and `cleared` whether the others are gone.
    """
    CREATE TABLE pruned (
        generation_id INTEGER PRIMARY KEY REFERENCES generation(id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        cleared INTEGER NOT NULL DEFAULT 0,
        counts TEXT NOT NULL
    )
    """,
)

_CHOICES = (
    # Which tree a task was given from when on, and why; see `store.reading.choices`.
    """
    CREATE TABLE tree_choice (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        tree TEXT NOT NULL,
        kind TEXT NOT NULL,
        reason TEXT NOT NULL,
        at TEXT NOT NULL
    )
    """,
    "CREATE INDEX tree_choice_session ON tree_choice (session_id)",
    # An id of tree_choice; NULL where the session has one tree. No reference: deleting a session would look
    # through all rounds for each choice.
    "ALTER TABLE round ADD COLUMN choice_id INTEGER",
    # What the parts of a round cost on the machine of the run: JSON of `decoding.trees.costs.Costs`.
    "ALTER TABLE session ADD COLUMN costs TEXT",
    # Measured while the run decoded, and for how long that was.
    "ALTER TABLE session ADD COLUMN energy_joules REAL",
    "ALTER TABLE session ADD COLUMN energy_seconds REAL",
)

# The counts of `store.counts.bins`, packed.
_BINS = ("ALTER TABLE rollup_task ADD COLUMN bins BLOB NOT NULL DEFAULT x''",)

# What was asked where it is more than one turn of a user: JSON of `prompts.chat.to_json`; else NULL. `prompt_text` is
# the same as text for people.
_MESSAGES = ("ALTER TABLE generation ADD COLUMN messages TEXT",)

_WORKERS = (
    # JSON of `store.whereabouts.Whereabouts`: which process, on which system, is at work on which file.
    "ALTER TABLE session ADD COLUMN worker_place TEXT NOT NULL DEFAULT ''",
    # When the last round was recorded, as the worker said with its last sign of life.
    "ALTER TABLE session ADD COLUMN round_at TEXT",
)

# The few rounds whose path was cut, of which survival takes no share.
_CUTS = ("CREATE INDEX round_cut ON round (generation_id, accepted_length, cut) WHERE cut IS NOT NULL",)

# What one token at a time took, as often as a run measured it (`store.writing.baselines`), and in the session's
# row their median, as before, with the range of them; NULL of one measurement.
_BASELINES = (
    """
    CREATE TABLE baseline (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        at TEXT NOT NULL,
        ms_per_token REAL NOT NULL,
        tokens INTEGER NOT NULL
    )
    """,
    "CREATE INDEX baseline_session ON baseline (session_id)",
    "ALTER TABLE session ADD COLUMN baseline_low_ms REAL",
    "ALTER TABLE session ADD COLUMN baseline_high_ms REAL",
    "ALTER TABLE session ADD COLUMN baseline_count INTEGER NOT NULL DEFAULT 0",
    # Sessions from before: one measurement of six tokens.
    """
    INSERT INTO baseline (session_id, at, ms_per_token, tokens)
    SELECT id, coalesce(started_at, created_at), baseline_ms, 6 FROM session WHERE baseline_ms IS NOT NULL
    """,
    "UPDATE session SET baseline_count = 1 WHERE baseline_ms IS NOT NULL",
)


def _nullable(table: str, *declarations: str) -> str:
    """SQL that lets columns be NULL, within ``writable_schema``; each is named as it was declared, with its NOT NULL.

    The way that SQLite's documentation gives for it. Rows stay as they are: a copy of the nodes of a large file would
    take minutes and twice its space.
    """
    sql = "sql"
    for declaration in declarations:
        freed = declaration.replace(" NOT NULL", "")
        sql = f"replace({sql}, '{declaration}', '{freed}')"
    return f"UPDATE sqlite_master SET sql = {sql} WHERE type = 'table' AND name = '{table}'"


_SERVERS = (
    "PRAGMA writable_schema = ON",
    # Figures of nodes that a server keeps to itself.
    _nullable("node", "target_p REAL NOT NULL", "target_entropy REAL NOT NULL", '"match" INTEGER NOT NULL'),
    # Rounds whose place in the text is not known, and times that are not.
    _nullable(
        "round",
        "prefix_length INTEGER NOT NULL",
        "draft_ms REAL NOT NULL",
        "verify_ms REAL NOT NULL",
        "other_ms REAL NOT NULL",
    ),
    *(
        _nullable(table, *(f"{name} REAL NOT NULL" for name in ("draft_ms", "verify_ms", "other_ms")))
        for table in ("generation", "rollup_task", "rollup_block")
    ),
    # Reads the tables anew. The changes below tell other connections of it.
    "PRAGMA writable_schema = RESET",
    # A name of `store.sources`: where the rounds come from.
    "ALTER TABLE session ADD COLUMN source TEXT NOT NULL DEFAULT 'engine'",
    # JSON of `store.sources.Server`; NULL of a session that spectui's own engine decoded.
    "ALTER TABLE session ADD COLUMN server TEXT",
    # The token that a server emits with the prompt's own pass, before any round; NULL where the first round gave it.
    "ALTER TABLE generation ADD COLUMN first_token_id INTEGER",
    # Nodes of which it is not known whether they match; a share of matches is of the others. The 0 is true of every
    # row of before, and of those that an older spectui goes on to write while its worker lasts.
    *(
        f"ALTER TABLE {table} ADD COLUMN unjudged_count INTEGER NOT NULL DEFAULT 0"
        for table in ("generation", "rollup_task", "rollup_depth", "rollup_block_depth")
    ),
)

_SAMPLES = (
    # Counters and levels of a watched server at one time: fields of `store.samples.Sample`. `more` is JSON of those
    # that are no number: positions, histograms, ends, tasks.
    """
    CREATE TABLE sample (
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        segment INTEGER NOT NULL,
        at REAL NOT NULL,
        engine TEXT NOT NULL,
        model TEXT NOT NULL,
        mark REAL,
        drafts REAL,
        drafted REAL,
        accepted REAL,
        generated REAL,
        first_tokens REAL,
        rounds REAL,
        tokens REAL,
        decode_s REAL,
        decode_tokens REAL,
        iterations REAL,
        batched REAL,
        prompt_tokens REAL,
        prefix_queries REAL,
        prefix_hits REAL,
        preempted REAL,
        running REAL,
        waiting REAL,
        kv REAL,
        depth INTEGER,
        accept_length REAL,
        accept_rate REAL,
        live_rate REAL,
        speculative INTEGER,
        more TEXT NOT NULL,
        PRIMARY KEY (session_id, at)
    ) WITHOUT ROWID
    """,
)

# The time of the rounds beside a measurement, which it is compared with; NULL in sessions from before.
_ROUNDS_BESIDE = ("ALTER TABLE baseline ADD COLUMN round_ms REAL",)

_REPLICAS = (
    # Who decoded a part of the prompts: a shard of a merged session, or one of several at work at once. `machine` is
    # JSON of `store.device_class.DeviceClass`: times of different ones are never added up. Costs are as in `session`.
    """
    CREATE TABLE replica (
        id INTEGER PRIMARY KEY,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        host TEXT NOT NULL DEFAULT '',
        pid INTEGER,
        device TEXT NOT NULL DEFAULT '',
        machine TEXT NOT NULL DEFAULT '',
        costs TEXT,
        energy_joules REAL,
        energy_seconds REAL,
        joined_at TEXT,
        left_at TEXT,
        reason TEXT NOT NULL DEFAULT '',
        UNIQUE (session_id, number)
    )
    """,
    # An id of replica; NULL where the session's own worker decoded. No reference: deleting a session would look through
    # all prompts for each replica.
    "ALTER TABLE generation ADD COLUMN replica_id INTEGER",
    "ALTER TABLE baseline ADD COLUMN replica_id INTEGER",
    "ALTER TABLE session ADD COLUMN machine TEXT NOT NULL DEFAULT ''",
    # JSON of `store.merging.shards.Shard`; NULL where the session has all prompts of its run.
    "ALTER TABLE session ADD COLUMN shard TEXT",
)

_REQUESTS = (
    # A request of a server's clients, as the server recorded it. `name` is the engine's id of it, `reached` the tokens
    # up to which it is recorded, those of the prompt included.
    """
    CREATE TABLE request (
        generation_id INTEGER PRIMARY KEY REFERENCES generation(id) ON DELETE CASCADE,
        session_id INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        reached INTEGER,
        temperature REAL,
        most_tokens INTEGER,
        preempted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (session_id, name)
    )
    """,
    # 1 where the target's argmax explains what a greedy round accepted, 0 where it does not; NULL where that cannot be
    # told. Then the counts of a session, and the first round that it does not.
    "ALTER TABLE round ADD COLUMN explained INTEGER",
    "ALTER TABLE session ADD COLUMN greedy_rounds INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE session ADD COLUMN explained_rounds INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE session ADD COLUMN unexplained_round_id INTEGER",
)

_AT_WORK = (
    # A replica while it is at work: its starter ('' of a shard), its activity, its last sign of life and its usage.
    "ALTER TABLE replica ADD COLUMN engine TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE replica ADD COLUMN stage TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE replica ADD COLUMN heartbeat_at TEXT",
    "ALTER TABLE replica ADD COLUMN cpu_percent REAL",
    "ALTER TABLE replica ADD COLUMN rss_bytes INTEGER",
    "ALTER TABLE replica ADD COLUMN gpu TEXT",
)

_SWEEPS = (
    # Sessions of every combination of some options (`store.sweeps`): `cells` is JSON of the combinations, `options` of
    # all that they have in common.
    """
    CREATE TABLE sweep (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        cells TEXT NOT NULL,
        options TEXT NOT NULL,
        created_at TEXT NOT NULL
    )
    """,
    # The sweep that a session is of, and the combination that it has; NULL where none.
    "ALTER TABLE session ADD COLUMN sweep_id INTEGER",
    "ALTER TABLE session ADD COLUMN cell TEXT",
    "CREATE UNIQUE INDEX session_cell ON session (sweep_id, cell) WHERE cell IS NOT NULL AND deleted_at IS NULL",
)

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("0001_initial", _INITIAL),
    ("0002_tags", _TAGS),
    ("0003_events", _EVENTS),
    ("0004_blocks", _BLOCKS),
    ("0005_pruned", _PRUNED),
    ("0006_choices", _CHOICES),
    (BINS_STEP, _BINS),
    ("0008_messages", _MESSAGES),
    ("0009_workers", _WORKERS),
    ("0010_cuts", _CUTS),
    ("0011_baselines", _BASELINES),
    ("0012_servers", _SERVERS),
    ("0013_samples", _SAMPLES),
    ("0014_rounds_beside", _ROUNDS_BESIDE),
    ("0015_replicas", _REPLICAS),
    ("0016_requests", _REQUESTS),
    ("0017_at_work", _AT_WORK),
    ("0018_sweeps", _SWEEPS),
)
"""Migration name -> its statements. What `store.schema.migrations.FILLS` names is filled from the nodes afterwards."""
