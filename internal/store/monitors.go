package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"understudy/internal/dr"
	"understudy/internal/monitor"
	"understudy/internal/notify"
)

// A Monitor watches the long operations of a site.
type Monitor struct {
	Name     string        `json:"name"`
	Site     string        `json:"site"`
	Every    time.Duration `json:"every"`
	Patience int           `json:"patience,omitempty"` // looks in a row that may fail
	State    monitor.State `json:"state"`
}

// PutMonitor adds a monitor; dr.KindConflict when there is one of that name.
func (s *Store) PutMonitor(ctx context.Context, m Monitor) error {
	rows, err := s.exec(ctx, "add monitor "+m.Name, "INSERT INTO monitors(name, doc) VALUES(?, ?) ON CONFLICT DO NOTHING", m.Name, encode(m))
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("there is a monitor %s already", m.Name), dr.KindConflict, "understudy monitor remove "+m.Name)
	}
	return err
}

// Monitors returns all monitors by name.
func (s *Store) Monitors(ctx context.Context) ([]Monitor, error) {
	return queryDocs[Monitor](ctx, s.read, "read monitors", "SELECT doc FROM monitors ORDER BY name")
}

// Monitor returns one monitor; dr.KindNotFound when there is none.
func (s *Store) Monitor(ctx context.Context, name string) (Monitor, error) {
	list, err := queryDocs[Monitor](ctx, s.read, "read monitor "+name, "SELECT doc FROM monitors WHERE name = ?", name)
	return one(list, err, "monitor", name, "understudy monitor list")
}

// DeleteMonitor removes a monitor; dr.KindNotFound when there is none.
func (s *Store) DeleteMonitor(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove monitor "+name, "DELETE FROM monitors WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no monitor named %q", name), dr.KindNotFound, "understudy monitor list")
	}
	return err
}

// Advance changes the state of a monitor by a look, and queues what is news, in one transaction: what is queued is exactly
// what the state says was told.
func (s *Store) Advance(ctx context.Context, name string, l monitor.Look) (m Monitor, events []notify.Event, err error) {
	err = s.tx(ctx, "advance monitor "+name, func(tx *sql.Tx) (err error) {
		if m, err = docTx[Monitor](ctx, tx, "monitor", name, "SELECT doc FROM monitors WHERE name = ?", name); err != nil {
			return err
		}
		l.Monitor, l.Site, l.Patience = name, m.Site, m.Patience
		m.State, events = m.State.Next(l)
		if _, err := tx.ExecContext(ctx, "UPDATE monitors SET doc = ? WHERE name = ?", encode(m), name); err != nil {
			return err
		}
		return s.tellTx(ctx, tx, events)
	})
	return m, events, err
}
