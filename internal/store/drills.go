package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/store/sqlite"
)

// A DrillSchedule says when a group is rehearsed, and what came of it.
type DrillSchedule struct {
	Group string `json:"group"`
	Cron  string `json:"cron"`
	Zone  string `json:"zone"`           // of the IANA database
	Plan  string `json:"plan,omitempty"` // recovery plan; empty: the group's own order
	Keep  bool   `json:"keep,omitempty"` // the machines of a drill that failed stay, to be looked at

	// Window is how late a drill may begin that could not begin on time.
	Window time.Duration `json:"window"`
	// OverdueAfter is the age of the last proof from which a drill is overdue; 0: the longest time between two, and Window.
	OverdueAfter time.Duration `json:"overdueAfter,omitempty"`

	By    string    `json:"by,omitempty"`
	Since time.Time `json:"since"`

	Next time.Time `json:"next,omitzero"` // when it is due

	LastDue time.Time `json:"lastDue,omitzero"` // of the last that was begun or missed
	LastRun string    `json:"lastRun,omitempty"`
	// Problem is why the last one could not begin, until one begins.
	Problem string `json:"problem,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Reminded is the proof whose age a person was reminded of, or Since.
	Reminded time.Time `json:"reminded,omitzero"`
}

// PutDrillSchedule adds the schedule of a group, or replaces it; dr.KindNotFound when there is no such group.
func (s *Store) PutDrillSchedule(ctx context.Context, d DrillSchedule) error {
	_, err := s.exec(ctx, "save drill schedule of "+d.Group,
		"INSERT INTO drill_schedules(grp, doc) VALUES(?, ?) ON CONFLICT(grp) DO UPDATE SET doc = excluded.doc", d.Group, encode(d))
	if foreign, _ := sqlite.Constraint(err); foreign {
		return dr.WithHint(fmt.Errorf("no group named %q", d.Group), dr.KindNotFound, "understudy status")
	}
	return err
}

// ChangeDrillSchedule replaces the schedule of a group by what change makes of it, and queues what is to be told of that,
// in one transaction. It returns the result; dr.KindNotFound when there is none.
func (s *Store) ChangeDrillSchedule(ctx context.Context, group string, change func(*DrillSchedule) error, news ...notify.Event) (DrillSchedule, error) {
	var d DrillSchedule
	err := s.tx(ctx, "change drill schedule of "+group, func(tx *sql.Tx) (err error) {
		if d, err = docTx[DrillSchedule](ctx, tx, "drill schedule of group", group, "SELECT doc FROM drill_schedules WHERE grp = ?", group); err != nil {
			return err
		}
		if err := change(&d); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE drill_schedules SET doc = ? WHERE grp = ?", encode(d), group); err != nil {
			return err
		}
		return s.tellTx(ctx, tx, news)
	})
	return d, err
}

// DrillSchedule returns the schedule of a group and whether there is one.
func (s *Store) DrillSchedule(ctx context.Context, group string) (DrillSchedule, bool, error) {
	list, err := queryDocs[DrillSchedule](ctx, s.read, "read drill schedule of "+group, "SELECT doc FROM drill_schedules WHERE grp = ?", group)
	if err != nil || len(list) == 0 {
		return DrillSchedule{}, false, err
	}
	return list[0], true, nil
}

// DrillSchedules returns all schedules by group.
func (s *Store) DrillSchedules(ctx context.Context) ([]DrillSchedule, error) {
	return queryDocs[DrillSchedule](ctx, s.read, "read drill schedules", "SELECT doc FROM drill_schedules ORDER BY grp")
}

// DeleteDrillSchedule ends the schedule of a group; dr.KindNotFound when there is none.
func (s *Store) DeleteDrillSchedule(ctx context.Context, group string) error {
	rows, err := s.exec(ctx, "remove drill schedule of "+group, "DELETE FROM drill_schedules WHERE grp = ?", group)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("group %q has no drill schedule", group), dr.KindNotFound, "understudy drill list")
	}
	return err
}

// RunsBeyond returns the IDs of a group's runs of a kind but for the newest keep.
func (s *Store) RunsBeyond(ctx context.Context, group, kind string, keep int) ([]string, error) {
	return queryRows(ctx, s.read, "read runs", func(r *sql.Rows) (id string, err error) { return id, r.Scan(&id) },
		"SELECT id FROM runs WHERE grp = ? AND kind = ? ORDER BY requested DESC, id DESC LIMIT -1 OFFSET ?", group, kind, keep)
}
