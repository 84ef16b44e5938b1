package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// An Export is a disk of a recovery point that is served on a socket for a run.
type Export struct {
	Run    string    `json:"run"`
	Group  string    `json:"group"`
	Vault  string    `json:"vault"`
	Point  string    `json:"point"`
	Disk   dr.DiskID `json:"disk"`
	Name   string    `json:"name"`   // of the NBD export
	Socket string    `json:"socket"` // path
}

// PutExports saves exports in one transaction.
func (s *Store) PutExports(ctx context.Context, list []Export) error {
	return s.tx(ctx, "save exports", func(tx *sql.Tx) error {
		for _, e := range list {
			if _, err := tx.ExecContext(ctx, `INSERT INTO exports(run, machine, disk, grp, vault, point, name, socket) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT(run, machine, disk) DO UPDATE SET grp = excluded.grp, vault = excluded.vault, point = excluded.point,
				name = excluded.name, socket = excluded.socket`, e.Run, e.Disk.Machine, e.Disk.Disk, e.Group, e.Vault, e.Point, e.Name, e.Socket); err != nil {
				return err
			}
		}
		return nil
	})
}

// Exports returns the exports of a run, or all when run is empty.
func (s *Store) Exports(ctx context.Context, run string) ([]Export, error) {
	return queryRows(ctx, s.read, "read exports", func(r *sql.Rows) (e Export, err error) {
		return e, r.Scan(&e.Run, &e.Disk.Machine, &e.Disk.Disk, &e.Group, &e.Vault, &e.Point, &e.Name, &e.Socket)
	}, "SELECT run, machine, disk, grp, vault, point, name, socket FROM exports WHERE ?1 = '' OR run = ?1 ORDER BY run, machine, disk", run)
}

// DeleteExports forgets the exports of a run.
func (s *Store) DeleteExports(ctx context.Context, run string) error {
	_, err := s.exec(ctx, "forget exports of run "+run, "DELETE FROM exports WHERE run = ?", run)
	return err
}

// A Fence says that a machine must not run at a site, and what was seen of it. SplitBrain holds from the time the
// machine was seen running there although it had been failed over, until the fence is removed.
type Fence struct {
	Site       string    `json:"site"`
	Machine    string    `json:"machine"`
	Group      string    `json:"group"`
	Run        string    `json:"run"` // the failover that demands it
	Reason     string    `json:"reason"`
	Since      time.Time `json:"since"`
	HeldAt     time.Time `json:"heldAt,omitzero"`     // when the site last confirmed that it is held
	SplitBrain time.Time `json:"splitBrain,omitzero"` // when it was first seen running there after the failover
	Seen       time.Time `json:"seen,omitzero"`       // when the site last answered about it
	Power      dr.Power  `json:"power,omitempty"`     // as last seen
	Error      string    `json:"error,omitempty"`     // why it could not be held
}

// ChangeFence creates or changes the fence of a machine at a site in one transaction. It returns the result.
func (s *Store) ChangeFence(ctx context.Context, siteName, machine string, change func(*Fence) error) (Fence, error) {
	var f Fence
	err := s.tx(ctx, "save fence of "+siteName+"/"+machine, func(tx *sql.Tx) (err error) {
		f, err = docTx[Fence](ctx, tx, "fence", machine, "SELECT doc FROM fences WHERE site = ? AND machine = ?", siteName, machine)
		if err != nil && dr.KindOf(err) != dr.KindNotFound {
			return err
		}
		f.Site, f.Machine = siteName, machine
		if err := change(&f); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO fences(site, machine, grp, doc) VALUES(?, ?, ?, ?)
			ON CONFLICT(site, machine) DO UPDATE SET grp = excluded.grp, doc = excluded.doc`, f.Site, f.Machine, f.Group, encode(f))
		return err
	})
	return f, err
}

// Fences returns the fences of a group, or all when group is empty.
func (s *Store) Fences(ctx context.Context, group string) ([]Fence, error) {
	return queryDocs[Fence](ctx, s.read, "read fences", "SELECT doc FROM fences WHERE ?1 = '' OR grp = ?1 ORDER BY site, machine", group)
}

// An Event is something that happened. Sequences rise, without being used twice.
type Event struct {
	Sequence int64     `json:"sequence"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"` // such as run.started, split-brain
	Group    string    `json:"group,omitempty"`
	Run      string    `json:"run,omitempty"`
	Message  string    `json:"message"`
}

// AppendEvent adds an event to the log and wakes those who follow it. Sequence, and Time when zero, are filled in.
func (s *Store) AppendEvent(ctx context.Context, e Event) (Event, error) {
	if e.Time.IsZero() {
		e.Time = s.now().UTC()
	}
	r, err := s.write.ExecContext(ctx, "INSERT INTO events(time, kind, grp, run, message) VALUES(?, ?, ?, ?, ?)", nanos(e.Time), e.Kind, e.Group, e.Run, e.Message)
	if err != nil {
		return e, sqlite.Explain(fmt.Errorf("append event: %w", err))
	}
	e.Sequence, err = r.LastInsertId()
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	return e, err
}

// An EventFilter selects events; its zero value selects all.
type EventFilter struct {
	After  int64 // sequence
	Before int64 // sequence; open when 0
	Group  string
	Run    string
	Kind   string // one that ends with '.' selects all that begin with it
	Text   string // in the message, the kind or the group's name, whatever the case
	Scope  *Scope // what is of no group is not in it
	Newest bool   // newest first
	Limit  int    // 0: 1000
}

// Events returns the events selected, oldest first unless the newest are wanted first.
func (s *Store) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	query, args := "SELECT sequence, time, kind, grp, run, message FROM events WHERE sequence > ?", []any{f.After}
	and := func(wanted bool, condition string, value any) {
		if wanted {
			query, args = query+" AND "+condition, append(args, value)
		}
	}
	and(f.Before > 0, "sequence < ?", f.Before)
	and(f.Group != "", "grp = ?", f.Group)
	and(f.Run != "", "run = ?", f.Run)
	if strings.HasSuffix(f.Kind, ".") {
		and(true, "substr(kind, 1, length(?)) = ?", f.Kind)
		args = append(args, f.Kind)
	} else {
		and(f.Kind != "", "kind = ?", f.Kind)
	}
	if f.Scope != nil {
		condition, groups := f.Scope.groups("grp")
		and(true, condition, groups)
	}
	and(f.Text != "", `kind || ' ' || grp || ' ' || message LIKE ? ESCAPE '\'`, "%"+likeEscape.Replace(f.Text)+"%")
	query += " ORDER BY sequence"
	if f.Newest {
		query += " DESC"
	}
	return queryRows(ctx, s.read, "read events", func(r *sql.Rows) (e Event, err error) {
		var at int64
		err = r.Scan(&e.Sequence, &at, &e.Kind, &e.Group, &e.Run, &e.Message)
		e.Time = instant(at)
		return e, err
	}, query+" LIMIT ?", append(args, f.Limit)...)
}

// likeEscape takes their meaning from the wildcards of LIKE.
var likeEscape = strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`)

// LastEvent is the sequence of the newest event, 0 when there is none.
func (s *Store) LastEvent(ctx context.Context) (int64, error) {
	var n int64
	err := s.read.QueryRowContext(ctx, "SELECT COALESCE(MAX(sequence), 0) FROM events").Scan(&n)
	return n, sqlite.Explain(err)
}

// Follow calls fn for each event selected, those that exist and then new ones as they are appended, until ctx ends or
// fn returns an error, which Follow returns.
func (s *Store) Follow(ctx context.Context, f EventFilter, fn func(Event) error) error {
	for {
		s.mu.Lock()
		changed := s.changed // before reading, so that what comes in between wakes us
		s.mu.Unlock()
		list, err := s.Events(ctx, f)
		if err != nil {
			return err
		}
		for _, e := range list {
			if err := fn(e); err != nil {
				return err
			}
			f.After = e.Sequence
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// PruneEvents removes events older than before.
func (s *Store) PruneEvents(ctx context.Context, before time.Time) (removed int64, err error) {
	return s.exec(ctx, "prune events", "DELETE FROM events WHERE time < ?", nanos(before))
}
