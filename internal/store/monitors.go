package store

import (
	"context"
	"database/sql"
	"encoding/json"
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

// DeleteMonitor removes a monitor; dr.KindNotFound when there is none.
func (s *Store) DeleteMonitor(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove monitor "+name, "DELETE FROM monitors WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no monitor named %q", name), dr.KindNotFound, "understudy monitor list")
	}
	return err
}

// Advance changes the state of a monitor by a look, and queues what is news for every channel, in one transaction: what
// is queued is exactly what the state says was told.
func (s *Store) Advance(ctx context.Context, name string, l monitor.Look) (m Monitor, events []notify.Event, err error) {
	err = s.tx(ctx, "advance monitor "+name, func(tx *sql.Tx) (err error) {
		if m, err = docTx[Monitor](ctx, tx, "monitor", name, "SELECT doc FROM monitors WHERE name = ?", name); err != nil {
			return err
		}
		l.Monitor, l.Patience = name, m.Patience
		m.State, events = m.State.Next(l)
		if _, err := tx.ExecContext(ctx, "UPDATE monitors SET doc = ? WHERE name = ?", encode(m), name); err != nil {
			return err
		}
		for _, e := range events {
			if _, err := tx.ExecContext(ctx, "INSERT INTO notifications(channel, state, next, doc) SELECT name, 'waiting', 0, ? FROM channels", encode(Notification{Event: e})); err != nil {
				return err
			}
		}
		return nil
	})
	return m, events, err
}

// A Notification is an event on its way to a channel.
type Notification struct {
	ID       int64        `json:"-"`
	Channel  string       `json:"-"`
	State    string       `json:"-"` // waiting, sent or dead
	Event    notify.Event `json:"event"`
	Attempts int          `json:"attempts,omitempty"`
	Problem  string       `json:"problem,omitempty"`
	Sent     time.Time    `json:"sent,omitzero"`
}

// States of a notification.
const (
	NotificationWaiting = "waiting"
	NotificationSent    = "sent"
	NotificationDead    = "dead" // given up
)

// PutChannel adds a channel, or replaces the one of its name.
func (s *Store) PutChannel(ctx context.Context, c notify.Channel) error {
	_, err := s.exec(ctx, "save channel "+c.Name, "INSERT INTO channels(name, doc) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", c.Name, encode(c))
	return err
}

// Channels returns all channels by name.
func (s *Store) Channels(ctx context.Context) ([]notify.Channel, error) {
	return queryDocs[notify.Channel](ctx, s.read, "read channels", "SELECT doc FROM channels ORDER BY name")
}

// DeleteChannel removes a channel with what waits for it; dr.KindNotFound when there is none.
func (s *Store) DeleteChannel(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove channel "+name, "DELETE FROM channels WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no channel named %q", name), dr.KindNotFound, "understudy notify list")
	}
	return err
}

// Notifications returns the newest, newest first; those of one state, or all when it is empty.
func (s *Store) Notifications(ctx context.Context, state string, limit int) ([]Notification, error) {
	return s.notifications(ctx, "WHERE ?1 = '' OR state = ?1 ORDER BY id DESC LIMIT ?2", state, limit)
}

// DueNotifications returns the oldest that are to be sent now.
func (s *Store) DueNotifications(ctx context.Context, now time.Time, limit int) ([]Notification, error) {
	return s.notifications(ctx, "WHERE state = 'waiting' AND next <= ? ORDER BY id LIMIT ?", now.UnixMilli(), limit)
}

func (s *Store) notifications(ctx context.Context, where string, args ...any) ([]Notification, error) {
	return queryRows(ctx, s.read, "read notifications", func(r *sql.Rows) (n Notification, err error) {
		var id int64
		var channel, state, doc string
		if err := r.Scan(&id, &channel, &state, &doc); err != nil {
			return n, err
		}
		err = json.Unmarshal([]byte(doc), &n)
		n.ID, n.Channel, n.State = id, channel, state
		return n, err
	}, "SELECT id, channel, state, doc FROM notifications "+where, args...)
}

// SaveNotification records an attempt. next is when it is tried again.
func (s *Store) SaveNotification(ctx context.Context, n Notification, next time.Time) error {
	_, err := s.exec(ctx, "save notification", "UPDATE notifications SET state = ?, next = ?, doc = ? WHERE id = ?", n.State, next.UnixMilli(), encode(n), n.ID)
	return err
}

// PruneNotifications forgets those that ended, but for the newest keep.
func (s *Store) PruneNotifications(ctx context.Context, keep int) error {
	_, err := s.exec(ctx, "forget old notifications", `DELETE FROM notifications WHERE state <> 'waiting' AND id <=
		(SELECT id FROM notifications ORDER BY id DESC LIMIT 1 OFFSET ?)`, keep)
	return err
}
