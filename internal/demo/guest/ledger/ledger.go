// Package ledger is a database under load inside a guest: it appends rows to an SQLite file in WAL mode as fast as the
// disk takes them, can be made quiet for a consistent recovery point, and tells of a recovered file whether every row
// that was acknowledged is there.
package ledger

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// keepRows is how many rows the table holds: older ones are deleted, so that pages are freed and used again.
const keepRows = 5000

// A Ledger appends rows to a database.
type Ledger struct {
	db *sql.DB

	mu   sync.Mutex // held by whoever writes, and by whoever keeps the ledger quiet
	last int64      // number of the newest row, which is acknowledged
	ack  func(last int64) error
}

// Open opens or creates the database in a file. ack is called with the number of each row once it is durable.
func Open(ctx context.Context, file string, ack func(last int64) error) (*Ledger, error) {
	db, err := open(file, url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"}})
	if err != nil {
		return nil, err
	}
	l := &Ledger{db: db, ack: ack}
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL, sum TEXT NOT NULL)")
	if err == nil {
		err = db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM rows").Scan(&l.last)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger: %w", err), db.Close())
	}
	return l, nil
}

func open(file string, q url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// Close closes the database, which no longer is to be written.
func (l *Ledger) Close() error { return l.db.Close() }

// Append appends one row and acknowledges it. It waits while the ledger is quiet.
func (l *Ledger) Append(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.last + 1
	body := strings.Repeat(fmt.Sprintf("row %d; ", id), 40)
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("append row %d: %w", id, err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO rows(id, body, sum) VALUES(?, ?, ?)", id, body, sum(id, body))
	if err == nil {
		_, err = tx.ExecContext(ctx, "DELETE FROM rows WHERE id <= ?", id-keepRows)
	}
	if err == nil {
		err = tx.Commit()
	} else {
		err = errors.Join(err, tx.Rollback())
	}
	if err != nil {
		return fmt.Errorf("append row %d: %w", id, err)
	}
	l.last = id
	return l.ack(id)
}

func sum(id int64, body string) string {
	s := sha256.Sum256(fmt.Appendf(nil, "%d %s", id, body))
	return hex.EncodeToString(s[:8])
}

// Quiesce stops the ledger and moves everything from its write-ahead log into the database file, which then needs no
// recovery. It returns the number of the newest row. The ledger is quiet until release is called.
func (l *Ledger) Quiesce(ctx context.Context) (last int64, release func(), err error) {
	l.mu.Lock()
	var busy, log, moved int
	err = l.db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved)
	if err == nil && busy != 0 {
		err = errors.New("the database is busy")
	}
	if err != nil {
		l.mu.Unlock()
		return 0, nil, fmt.Errorf("quiesce ledger: %w", err)
	}
	return l.last, sync.OnceFunc(l.mu.Unlock), nil
}

// Serve takes orders at a listener until ctx ends, one a connection: "quiesce" is answered with "ok LAST", and "resume"
// with "ok". What goes wrong is answered with "error TEXT".
func (l *Ledger) Serve(ctx context.Context, at net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = at.Close() })
	defer stop()
	release := func() {}
	for {
		conn, err := at.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		order, _ := bufio.NewReader(conn).ReadString('\n')
		answer := "error unknown order"
		switch strings.TrimSpace(order) {
		case "quiesce":
			release() // a second order while quiet begins anew
			var last int64
			if last, release, err = l.Quiesce(ctx); err != nil {
				answer, release = "error "+err.Error(), func() {}
			} else {
				answer = fmt.Sprintf("ok %d", last)
			}
		case "resume":
			release()
			answer = "ok"
		}
		_, _ = fmt.Fprintln(conn, answer) // whoever asked may be gone
		_ = conn.Close()
	}
}

// Order gives an order to the ledger that serves a socket and returns its answer without "ok".
func Order(ctx context.Context, socket, order string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, order); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(answer), "ok")
	if !ok {
		return "", errors.New(strings.TrimSpace(answer))
	}
	return strings.TrimSpace(rest), nil
}

// A Report says what a recovered database holds.
type Report struct {
	WAL       int64  `json:"wal"`   // bytes of log that have to be recovered
	First     int64  `json:"first"` // number of the oldest row
	Last      int64  `json:"last"`  // of the newest
	Rows      int64  `json:"rows"`
	Bad       int64  `json:"bad"` // rows whose content is not what was written
	Integrity string `json:"integrity"`
}

// OK reports whether the database is sound and holds every row from First to Last.
func (r Report) OK() bool {
	return r.Integrity == "ok" && r.Bad == 0 && r.Rows > 0 && r.Rows == r.Last-r.First+1
}

// Check examines the database in a file. With asIs nothing is recovered: the file is read as it lies there.
func Check(ctx context.Context, file string, asIs bool) (r Report, err error) {
	if st, err := os.Stat(file + "-wal"); err == nil {
		r.WAL = st.Size()
	}
	if _, err := os.Stat(file); err != nil {
		return r, err
	}
	q := url.Values{}
	if asIs {
		q.Set("immutable", "1")
	}
	db, err := open(file, q)
	if err != nil {
		return r, err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&r.Integrity); err != nil {
		return r, fmt.Errorf("check ledger: %w", err)
	}
	rows, err := db.QueryContext(ctx, "SELECT id, body, sum FROM rows ORDER BY id")
	if err != nil {
		return r, fmt.Errorf("check ledger: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var body, got string
		if err := rows.Scan(&r.Last, &body, &got); err != nil {
			return r, fmt.Errorf("check ledger: %w", err)
		}
		if r.Rows++; r.Rows == 1 {
			r.First = r.Last
		}
		if got != sum(r.Last, body) {
			r.Bad++
		}
	}
	return r, rows.Err()
}
