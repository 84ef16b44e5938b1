// Package history keeps what replication cycles did over time, for charts: every cycle for a day, and for a month the
// worst of every five minutes. It has a file of its own, written in batches beside the cycles: losing it costs charts
// and nothing else, so a crash may take the last minute with it.
//
// Cycles are written as they come, a row per group and batch, so that a batch is one sequential write whatever the
// number of groups. Once an hour is over it is gathered into one row per group.
package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// Times of what is kept.
const (
	FlushEvery  = time.Minute         // between two batches
	KeepCycles  = 24 * time.Hour      // how long every cycle is kept
	KeepWorst   = 30 * 24 * time.Hour // how long the worst of every Step is
	Step        = 5 * time.Minute
	pendingMost = 2_000_000 // cycles in memory while they cannot be written
)

// A Sample is what one cycle did, or many: then Time is where they begin, times are the longest, bytes are sums.
type Sample struct {
	Time     time.Time     // when it ended
	Lag      time.Duration // what would have been lost just before it ended
	Changed  int64         // bytes that differed
	Stored   int64         // bytes written to the vault
	Read     int64         // bytes read from the source
	Took     time.Duration
	Cycles   int // how many this is
	Failures int // how many of them failed
}

// add makes s stand for t, too.
func (s *Sample) add(t Sample) {
	s.Lag, s.Took = max(s.Lag, t.Lag), max(s.Took, t.Took)
	s.Changed, s.Stored, s.Read = s.Changed+t.Changed, s.Stored+t.Stored, s.Read+t.Read
	s.Cycles, s.Failures = s.Cycles+t.Cycles, s.Failures+t.Failures
}

// Options of a History.
type Options struct {
	Now    func() time.Time // the clock; time.Now when nil
	Logger *slog.Logger
}

// History is an open history. Its methods may be called from many goroutines at once.
type History struct {
	now   func() time.Time
	log   *slog.Logger
	write *sql.DB
	read  *sql.DB

	mu      sync.Mutex
	pending map[string][]Sample // not written yet, by group
	count   int                 // of pending
	totals  map[string]Sample   // since the process began, by group
	visible int64               // the newest batch: what came after it is pending

	writing sync.Mutex // one batch at a time
}

const schema = `
CREATE TABLE IF NOT EXISTS batches (at INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS cycles (batch INTEGER NOT NULL, grp TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (batch, grp)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hours (hour INTEGER NOT NULL, grp TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (hour, grp)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered (one INTEGER PRIMARY KEY CHECK (one = 1), until INTEGER NOT NULL) STRICT;`

// Open opens the file of a history, or makes it. One that is damaged is put aside.
func Open(ctx context.Context, path string, o Options) (*History, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &History{now: o.Now, log: o.Logger, pending: map[string][]Sample{}, totals: map[string]Sample{}}
	err := h.open(ctx, path)
	if dr.KindOf(err) == dr.KindCorrupt {
		o.Logger.Error("the history of replication is damaged and begins anew", "file", path, "err", err)
		if err := setAside(path); err != nil {
			return nil, fmt.Errorf("open history: %w", err)
		}
		err = h.open(ctx, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	return h, nil
}

func (h *History) open(ctx context.Context, path string) (err error) {
	// Reading a large file from end to end would delay the start: damage is found where it is met.
	if h.write, err = sqlite.Open(ctx, path, sqlite.Options{MaxConns: 1, Relaxed: true, Unchecked: true}); err != nil {
		return err
	}
	if _, err = h.write.ExecContext(ctx, schema); err == nil {
		err = h.write.QueryRowContext(ctx, "SELECT COALESCE(MAX(at), 0) FROM batches").Scan(&h.visible)
	}
	if err == nil {
		h.read, err = sqlite.Open(ctx, path, sqlite.Options{MaxConns: 2, ReadOnly: true, Relaxed: true, Unchecked: true})
	}
	if err != nil {
		return errors.Join(sqlite.Explain(err), h.write.Close())
	}
	return nil
}

// setAside moves a damaged file out of the way.
func setAside(path string) error {
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, path+".damaged")
}

// Close closes the file, after Run has ended.
func (h *History) Close() error { return errors.Join(h.read.Close(), h.write.Close()) }

// Add takes note of a cycle of a group. It waits for nothing.
func (h *History) Add(group string, s Sample) {
	s.Cycles = 1
	h.mu.Lock()
	defer h.mu.Unlock()
	total := h.totals[group]
	total.add(s)
	h.totals[group] = total
	if h.count < pendingMost {
		h.pending[group] = append(h.pending[group], s)
		h.count++
	}
}

// Totals is what the cycles of every group did since the process began.
func (h *History) Totals() map[string]Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := make(map[string]Sample, len(h.totals))
	for group, s := range h.totals {
		m[group] = s
	}
	return m
}

// Forget drops what is in memory of a group that is gone.
func (h *History) Forget(group string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.totals, group)
}

// Run writes batches until ctx ends, and a last one then.
func (h *History) Run(ctx context.Context) error {
	tick := time.NewTicker(FlushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := h.Flush(end); err != nil {
				h.log.Warn("write history", "err", err)
			}
			return nil
		case <-tick.C:
			if err := errors.Join(h.Flush(ctx), h.gather(ctx)); err != nil && ctx.Err() == nil {
				h.log.Warn("write history", "err", err)
			}
		}
	}
}

// Flush writes what is pending. With an error it stays pending.
func (h *History) Flush(ctx context.Context) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	lengths := make(map[string]int, len(h.pending)) // what comes meanwhile goes behind
	for group, list := range h.pending {
		lengths[group] = len(list)
	}
	at := max(h.now().Unix(), h.visible+1) // the clock may stand still or go back
	h.mu.Unlock()
	if len(lengths) == 0 {
		return nil
	}
	if err := h.writeBatch(ctx, at, lengths); err != nil {
		return sqlite.Explain(fmt.Errorf("write a batch: %w", err))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.visible = at
	for group, n := range lengths {
		h.count -= n
		if rest := h.pending[group][n:]; len(rest) > 0 {
			h.pending[group] = slices.Clone(rest)
		} else {
			delete(h.pending, group)
		}
	}
	return nil
}

// writeBatch writes the first so many pending samples of each group, and lets go of batches that are old enough.
func (h *History) writeBatch(ctx context.Context, at int64, lengths map[string]int) error {
	tx, err := h.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, "INSERT INTO batches(at) VALUES(?)", at); err != nil {
		return err
	}
	put, err := tx.PrepareContext(ctx, "INSERT INTO cycles(batch, grp, data) VALUES(?, ?, ?)")
	if err != nil {
		return err
	}
	defer put.Close()
	base := time.Unix(at, 0)
	for group, n := range lengths {
		h.mu.Lock()
		list := h.pending[group][:n:n]
		h.mu.Unlock()
		if _, err := put.ExecContext(ctx, at, group, encode(base, list)); err != nil {
			return err
		}
	}
	// One batch comes and up to two go, so that what is old goes at the pace at which it came.
	for range 2 {
		var old int64
		err := tx.QueryRowContext(ctx, "SELECT at FROM batches WHERE at < ? AND at <= (SELECT until FROM gathered) ORDER BY at LIMIT 1",
			at-int64(KeepCycles/time.Second)).Scan(&old)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM cycles WHERE batch = ?", old)
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM batches WHERE at = ?", old)
		}
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}
