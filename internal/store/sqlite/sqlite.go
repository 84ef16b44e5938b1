// Package sqlite opens SQLite files the way Understudy wants them: write-ahead log, every commit synced to the disk,
// write transactions that take their lock at the start, and damage reported as such.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"understudy/internal/dr"
)

// Options say how a file is opened.
type Options struct {
	// MaxConns bounds the connections; 0 does not.
	MaxConns int
	// ReadOnly refuses statements that write.
	ReadOnly bool
	// Relaxed lets a power failure take the last transactions back, whole, for the speed of the others.
	Relaxed bool
	// Unchecked leaves out the search for damage, which reads the whole file.
	Unchecked bool
}

// Open opens or creates an SQLite file, readable by its owner only. A file that is damaged, or no SQLite file at all,
// is an error of dr.KindCorrupt.
func Open(ctx context.Context, path string, o Options) (*sql.DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if !o.ReadOnly {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, dr.WithHint(fmt.Errorf("open state: %w", err), dr.KindUnavailable,
				"check that "+filepath.Dir(path)+" exists and that you may write there, or choose another with --data")
		}
		f.Close()
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
	}}
	if o.Relaxed {
		q.Add("_pragma", "synchronous(NORMAL)")
	}
	if o.ReadOnly {
		q.Set("_txlock", "deferred")
		q.Add("_pragma", "query_only(1)")
	}
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if o.MaxConns > 0 {
		db.SetMaxOpenConns(o.MaxConns)
		db.SetMaxIdleConns(o.MaxConns)
	}
	looks := check
	if o.Unchecked {
		looks = func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) }
	}
	if err := looks(ctx, db); err != nil {
		db.Close()
		return nil, Explain(fmt.Errorf("open %s: %w", path, err))
	}
	return db, nil
}

func check(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return dr.WithHint(fmt.Errorf("file is damaged: %s", result), dr.KindCorrupt, damagedHint)
	}
	return nil
}

const damagedHint = "stop the controller, move the file away and start again, or put back a copy of it: recovery points are in the vaults and are not touched"

// Explain gives an SQLite error its kind: damage, a full disk, a busy file or a rule that a row breaks.
func Explain(err error) error {
	var classed *dr.Error
	if err == nil || errors.As(err, &classed) {
		return err
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return dr.WithHint(err, dr.KindCorrupt, damagedHint)
	case sqlite3.SQLITE_FULL:
		return dr.WithHint(err, dr.KindUnavailable, "make room on the disk that holds the data folder")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return dr.WithHint(err, dr.KindUnavailable, "another process holds the file: is a second controller running on this data folder?")
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return dr.WithHint(err, dr.KindUnavailable, "check the disk and the permissions of the data folder")
	case sqlite3.SQLITE_CONSTRAINT:
		return dr.WithHint(err, dr.KindConflict, "")
	}
	return err
}

// Constraint reports whether err is a row that breaks a foreign key (foreign) or a uniqueness rule (unique).
func Constraint(err error) (foreign, unique bool) {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false, false
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return true, false
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return false, true
	}
	return false, false
}
