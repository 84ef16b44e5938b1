// Package store keeps the controller's state in one SQLite file: what is configured (sites, vaults, policies, groups),
// what was observed (status, fences) and what was done (runs, exports, events). Recovery points are not in it: a lost
// store costs configuration and history, never data.
//
// Every method that returns nil has its change on the disk. Errors carry a dr.Kind: dr.KindNotFound, dr.KindConflict,
// dr.KindCorrupt for a damaged file, dr.KindUnavailable for a full disk or a busy file.
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/store/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Store is the controller's state. Its methods may be called from many goroutines at once.
type Store struct {
	// One connection writes, so that writers wait for each other in order instead of polling a busy file.
	write *sql.DB
	read  *sql.DB
	now   func() time.Time
	// process tells requests that are being done from those that were when a process died.
	process string
	ended   func(Run, Protection) []notify.Event

	generation atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when an event is appended
}

// Options of a Store.
type Options struct {
	Now func() time.Time // the clock; time.Now when nil
	// Ended says what is to be told of a run that has ended and where that leaves its group. It is called in the
	// transaction that records the end, and what it returns is queued in it. Nothing is told when nil.
	Ended func(Run, Protection) []notify.Event
}

// Open opens or creates the state file and brings its tables up to date. A file written by a newer program is refused.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	write, err := sqlite.Open(ctx, path, sqlite.Options{MaxConns: 1})
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, write); err != nil {
		write.Close()
		return nil, sqlite.Explain(fmt.Errorf("open %s: %w", path, err))
	}
	read, err := sqlite.Open(ctx, path, sqlite.Options{MaxConns: 4, ReadOnly: true})
	if err != nil {
		write.Close()
		return nil, err
	}
	return &Store{write: write, read: read, now: o.Now, ended: o.Ended, process: rand.Text(), changed: make(chan struct{})}, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	has, wants, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if has > wants {
		return dr.WithHint(fmt.Errorf("state has version %d, this program knows %d", has, wants), dr.KindConflict,
			"a newer understudy wrote it: run that version")
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring tables up to date: %w", err)
	}
	return nil
}

// Close closes the file.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// Generation changes with every write that has returned, but for what is observed all the time (PutStatuses,
// PutInventories). What was read
// after a generation was, is as it is while the generation stays.
func (s *Store) Generation() uint64 { return s.generation.Load() }

// tx runs fn in one write transaction.
func (s *Store) tx(ctx context.Context, what string, fn func(*sql.Tx) error) error {
	defer s.generation.Add(1)
	return s.quietly(ctx, what, fn)
}

// quietly is tx that leaves the generation as it is.
func (s *Store) quietly(ctx context.Context, what string, fn func(*sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	if err := fn(tx); err != nil {
		tx.Rollback() // the file is as it was whether this works or not
		return sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	if err := tx.Commit(); err != nil {
		return sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	return nil
}

func (s *Store) exec(ctx context.Context, what, query string, args ...any) (rows int64, err error) {
	defer s.generation.Add(1)
	r, err := s.write.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	rows, err = r.RowsAffected()
	return rows, err
}

// queryDocs reads rows whose only column is a JSON document.
func queryDocs[T any](ctx context.Context, db *sql.DB, what, query string, args ...any) ([]T, error) {
	return queryRows(ctx, db, what, func(r *sql.Rows) (v T, err error) {
		var doc string
		if err := r.Scan(&doc); err != nil {
			return v, err
		}
		return v, json.Unmarshal([]byte(doc), &v)
	}, query, args...)
}

func queryRows[T any](ctx context.Context, db *sql.DB, what string, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, sqlite.Explain(fmt.Errorf("%s: %w", what, err))
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Explain(fmt.Errorf("%s: %w", what, err))
	}
	return out, nil
}

// one returns the only element of list, or dr.KindNotFound.
func one[T any](list []T, err error, noun, name, hint string) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	if len(list) == 0 {
		return zero, dr.WithHint(fmt.Errorf("no %s named %q", noun, name), dr.KindNotFound, hint)
	}
	return list[0], nil
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // only for values that no type of this package can hold
		panic(fmt.Sprintf("store: encode %T: %v", v, err))
	}
	return string(b)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
