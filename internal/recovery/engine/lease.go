package engine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// A lease makes this process the only one that runs steps. On one host a lock on a file decides, which the kernel takes
// back from a process that dies; a row with an expiry decides between hosts that share the file. The holder fences
// itself: when it did not renew in time, because it was stopped or its disk hung, it does not act any more.
type lease struct {
	db     *sql.DB
	file   *os.File
	holder string
	ttl    time.Duration

	mu      sync.Mutex
	renewed time.Time // with monotonic reading
	lost    error
	onLost  func(error) // set before keep runs
	stop    chan struct{}
	stopped chan struct{} // closed when keep has ended
}

func acquire(ctx context.Context, path string, ttl time.Duration) (_ *lease, err error) {
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dr.WithHint(err, dr.KindUnavailable, "check the permissions of the data folder")
	}
	if err := lockFile(file); err != nil {
		file.Close()
		return nil, dr.WithHint(fmt.Errorf("another controller runs on %s: %w", path, err), dr.KindConflict, "stop it, or choose another folder with --data")
	}
	l := &lease{file: file, ttl: ttl, stop: make(chan struct{}), stopped: make(chan struct{})}
	defer func() {
		if err != nil {
			if l.db != nil {
				l.db.Close()
			}
			file.Close()
		}
	}()
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	l.holder = fmt.Sprintf("%s/%d/%d", host, os.Getpid(), time.Now().UnixNano())
	if l.db, err = sqlite.Open(ctx, path, sqlite.Options{MaxConns: 8}); err != nil {
		return nil, err
	}
	if _, err := l.db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS understudy_leader(
		id INTEGER PRIMARY KEY CHECK (id = 1), host TEXT NOT NULL, holder TEXT NOT NULL, expires INTEGER NOT NULL) STRICT`); err != nil {
		return nil, sqlite.Explain(err)
	}
	now := time.Now()
	// The lock says that no process of this host holds it, so a row of this host is of a dead one.
	r, err := l.db.ExecContext(ctx, `INSERT INTO understudy_leader(id, host, holder, expires) VALUES(1, ?, ?, ?)
		ON CONFLICT(id) DO UPDATE SET host = excluded.host, holder = excluded.holder, expires = excluded.expires
		WHERE understudy_leader.host = excluded.host OR understudy_leader.expires < ?`, host, l.holder, now.Add(ttl).UnixNano(), now.UnixNano())
	if err != nil {
		return nil, sqlite.Explain(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		var other string
		err = errors.Join(err, l.db.QueryRowContext(ctx, "SELECT holder FROM understudy_leader").Scan(&other))
		return nil, dr.WithHint(errors.Join(fmt.Errorf("controller %s holds %s", other, path), err), dr.KindConflict, fmt.Sprintf("stop it; its lease ends after %s", ttl))
	}
	l.renewed = now
	return l, nil
}

// check says whether the lease may have ended by now.
func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkLocked()
}

func (l *lease) checkLocked() error {
	if l.lost != nil {
		return l.lost
	}
	// The monotonic clock stands still while a machine sleeps, the wall clock may jump back: the longer counts.
	age := max(time.Since(l.renewed), time.Now().Round(0).Sub(l.renewed.Round(0)))
	if age >= l.ttl {
		return fmt.Errorf("the leader lease was not renewed for %s", age.Round(time.Millisecond))
	}
	return nil
}

// lose records that the lease is gone and tells the program, once.
func (l *lease) lose(err error) {
	l.mu.Lock()
	first := l.lost == nil
	if first {
		l.lost = err
	}
	l.mu.Unlock()
	if first {
		l.onLost(err)
	}
}

// keep renews the lease until release.
func (l *lease) keep() {
	defer close(l.stopped)
	ticker := time.NewTicker(l.ttl / 4)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		// Before the renewal: a process that slept longer than its lease must not take it back unseen.
		if err := l.check(); err != nil {
			l.lose(err)
			return
		}
		if err := l.renew(); err != nil {
			l.lose(err)
			return
		}
	}
}

// renew extends the lease. A file that cannot be written now is no loss until the lease ends.
func (l *lease) renew() error {
	now := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), l.ttl/2)
	defer cancel()
	r, err := l.db.ExecContext(ctx, "UPDATE understudy_leader SET expires = ? WHERE id = 1 AND holder = ?", now.Add(l.ttl).UnixNano(), l.holder)
	if err != nil {
		return nil
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		return errors.Join(errors.New("another controller took the leader lease"), err)
	}
	l.mu.Lock()
	l.renewed = now
	l.mu.Unlock()
	return nil
}

// release gives the lease up and closes the file.
func (l *lease) release() error {
	close(l.stop)
	if l.onLost != nil {
		<-l.stopped
	}
	// DBOS closes the handle it was given; the file lock ends with the file.
	return errors.Join(l.db.Close(), l.file.Close())
}
