package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/notify"
	"understudy/internal/store/sqlite"
	"understudy/internal/watch"
)

// Tell queues events for the channels that they go to, and opens and ends the problems of their keys, in one transaction.
func (s *Store) Tell(ctx context.Context, events ...notify.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.tx(ctx, "queue notifications", func(tx *sql.Tx) error { return s.tellTx(ctx, tx, events) })
}

// tellTx is Tell as a part of the change that the events tell of: both are there after a crash, or neither.
func (s *Store) tellTx(ctx context.Context, tx *sql.Tx, events []notify.Event) error {
	for i, e := range events {
		if e.Key == "" {
			continue
		}
		known, err := docTx[watch.Problem](ctx, tx, "problem", e.Key, "SELECT doc FROM problems WHERE key = ?", e.Key)
		if err != nil && dr.KindOf(err) != dr.KindNotFound {
			return err
		}
		after, told := known.Tell(e, s.now())
		events[i] = told
		if err := putProblem(ctx, tx, e.Key, after); err != nil {
			return err
		}
	}
	return queueTx(ctx, tx, events)
}

// putProblem saves what is known of a problem; the zero problem is forgotten.
func putProblem(ctx context.Context, tx *sql.Tx, key string, p watch.Problem) error {
	if p.Since.IsZero() {
		_, err := tx.ExecContext(ctx, "DELETE FROM problems WHERE key = ?", key)
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO problems(key, doc) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET doc = excluded.doc", key, encode(p))
	return err
}

// queueTx queues each event for each channel that it goes to.
func queueTx(ctx context.Context, tx *sql.Tx, events []notify.Event) error {
	if len(events) == 0 {
		return nil
	}
	channels, err := docsTx[notify.Channel](ctx, tx, "SELECT doc FROM channels ORDER BY name")
	if err != nil {
		return err
	}
	rules, err := docsTx[notify.Rule](ctx, tx, "SELECT doc FROM notification_rules ORDER BY name")
	if err != nil {
		return err
	}
	names := make([]string, len(channels))
	for i, c := range channels {
		names[i] = c.Name
	}
	for _, e := range events {
		for _, to := range notify.Route(names, rules, e) {
			if _, err := tx.ExecContext(ctx, "INSERT INTO notifications(channel, state, next, doc) VALUES(?, 'waiting', 0, ?)", to, encode(Notification{Event: e})); err != nil {
				return err
			}
		}
	}
	return nil
}

func docsTx[T any](ctx context.Context, tx *sql.Tx, query string) ([]T, error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var doc string
		var v T
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(doc), &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Watch changes what is known of problems by a look, and queues what is to be told of it, in one transaction.
func (s *Store) Watch(ctx context.Context, l watch.Look) (events []notify.Event, err error) {
	known, err := s.problems(ctx)
	if err != nil {
		return nil, err
	}
	// Most looks change nothing: those cost no transaction.
	if changed, _ := watch.Next(known, l); len(changed) == 0 {
		return nil, nil
	}
	err = s.tx(ctx, "keep what was seen", func(tx *sql.Tx) error {
		list, err := docsTx[watch.Problem](ctx, tx, "SELECT doc FROM problems")
		if err != nil {
			return err
		}
		var changed map[string]watch.Problem
		changed, events = watch.Next(byKey(list), l)
		for key, p := range changed {
			if err := putProblem(ctx, tx, key, p); err != nil {
				return err
			}
		}
		return queueTx(ctx, tx, events)
	})
	return events, err
}

func (s *Store) problems(ctx context.Context) (map[string]watch.Problem, error) {
	list, err := queryDocs[watch.Problem](ctx, s.read, "read problems", "SELECT doc FROM problems")
	return byKey(list), err
}

func byKey(list []watch.Problem) map[string]watch.Problem {
	known := make(map[string]watch.Problem, len(list))
	for _, p := range list {
		known[p.Event.Key] = p
	}
	return known
}

// Problems returns the problems that were told and not their end, the worst first and of those the oldest.
func (s *Store) Problems(ctx context.Context) ([]watch.Problem, error) {
	list, err := queryDocs[watch.Problem](ctx, s.read, "read problems", "SELECT doc FROM problems")
	list = slices.DeleteFunc(list, func(p watch.Problem) bool { return !p.Open() })
	slices.SortFunc(list, func(a, b watch.Problem) int {
		if c := b.Event.Severity.Compare(a.Event.Severity); c != 0 {
			return c
		}
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Event.Key, b.Event.Key)
	})
	return list, err
}

// A Notification is an event on its way to a channel.
type Notification struct {
	ID       int64        `json:"-"` // rises
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

// PutRule adds a rule, or replaces the one of its name; dr.KindInvalid when it names a channel that is not there.
func (s *Store) PutRule(ctx context.Context, r notify.Rule) error {
	return s.tx(ctx, "save rule "+r.Name, func(tx *sql.Tx) error {
		for _, c := range r.Channels {
			var there int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM channels WHERE name = ?", c).Scan(&there); err != nil {
				return err
			}
			if there == 0 {
				return dr.WithHint(fmt.Errorf("no channel named %q", c), dr.KindInvalid, "understudy notify list")
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO notification_rules(name, doc) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", r.Name, encode(r))
		return err
	})
}

// Rules returns all rules by name.
func (s *Store) Rules(ctx context.Context) ([]notify.Rule, error) {
	return queryDocs[notify.Rule](ctx, s.read, "read rules", "SELECT doc FROM notification_rules ORDER BY name")
}

// DeleteRule removes a rule; dr.KindNotFound when there is none.
func (s *Store) DeleteRule(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove rule "+name, "DELETE FROM notification_rules WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no rule named %q", name), dr.KindNotFound, "understudy notify rule list")
	}
	return err
}

const notificationSettings = "notifications"

// NotificationSettings returns what all notifications share.
func (s *Store) NotificationSettings(ctx context.Context) (notify.Settings, error) {
	list, err := queryDocs[notify.Settings](ctx, s.read, "read settings", "SELECT doc FROM settings WHERE name = ?", notificationSettings)
	if err != nil || len(list) == 0 {
		return notify.Settings{}, err
	}
	return list[0], nil
}

// PutNotificationSettings replaces what all notifications share.
func (s *Store) PutNotificationSettings(ctx context.Context, v notify.Settings) error {
	_, err := s.exec(ctx, "save settings", "INSERT INTO settings(name, doc) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", notificationSettings, encode(v))
	return err
}

// A NotificationFilter selects notifications; its zero value selects all.
type NotificationFilter struct {
	State   string
	Channel string
	Topic   notify.Topic
	Group   string
	Scope   *Scope
	Before  int64 // ID; 0: the newest
	Limit   int   // 0: 100
}

func (f NotificationFilter) where() (string, []any) {
	where, args := "WHERE 1", []any{}
	for _, c := range [][2]string{{"state", f.State}, {"channel", f.Channel}, {"json_extract(doc, '$.event.topic')", string(f.Topic)}, {"json_extract(doc, '$.event.group')", f.Group}} {
		if c[1] != "" {
			where, args = where+" AND "+c[0]+" = ?", append(args, c[1])
		}
	}
	if f.Scope != nil {
		const group = "COALESCE(json_extract(doc, '$.event.group'), '')"
		condition, groups := f.Scope.groups(group)
		where += " AND (" + condition + " OR " + group + ` = '' AND EXISTS (
			SELECT 1 FROM json_each(doc, '$.event.sites') AS at WHERE at.value IN (SELECT value FROM json_each(?))))`
		args = append(args, groups, encode(orNone(f.Scope.Sites)))
	}
	if f.Before > 0 {
		where, args = where+" AND id < ?", append(args, f.Before)
	}
	return where, args
}

// CountNotifications returns how many notifications are selected, wherever they are.
func (s *Store) CountNotifications(ctx context.Context, f NotificationFilter) (n int, err error) {
	f.Before = 0
	where, args := f.where()
	err = s.read.QueryRowContext(ctx, "SELECT count(*) FROM notifications "+where, args...).Scan(&n)
	return n, sqlite.Explain(err)
}

// Notifications returns the notifications selected, newest first.
func (s *Store) Notifications(ctx context.Context, f NotificationFilter) ([]Notification, error) {
	where, args := f.where()
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return s.notifications(ctx, where+" ORDER BY id DESC LIMIT ?", append(args, f.Limit)...)
}

// RetryNotification has a notification sent again that was given up; dr.KindConflict when it was not.
func (s *Store) RetryNotification(ctx context.Context, id int64) (Notification, error) {
	return s.changeDead(ctx, "retry", id, func(tx *sql.Tx, n *Notification) error {
		n.State, n.Attempts, n.Problem = NotificationWaiting, 0, ""
		_, err := tx.ExecContext(ctx, "UPDATE notifications SET state = ?, next = 0, doc = ? WHERE id = ?", n.State, encode(*n), id)
		return err
	})
}

// DropNotification forgets a notification that was given up; dr.KindConflict when it was not.
func (s *Store) DropNotification(ctx context.Context, id int64) (Notification, error) {
	return s.changeDead(ctx, "drop", id, func(tx *sql.Tx, _ *Notification) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM notifications WHERE id = ?", id)
		return err
	})
}

func (s *Store) changeDead(ctx context.Context, verb string, id int64, change func(*sql.Tx, *Notification) error) (n Notification, err error) {
	err = s.tx(ctx, fmt.Sprintf("%s notification %d", verb, id), func(tx *sql.Tx) error {
		var doc string
		err := tx.QueryRowContext(ctx, "SELECT channel, state, doc FROM notifications WHERE id = ?", id).Scan(&n.Channel, &n.State, &doc)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return dr.WithHint(errors.New("there is no such notification"), dr.KindNotFound, "understudy notify dead list")
		case err != nil:
			return err
		case n.State != NotificationDead:
			return dr.WithHint(fmt.Errorf("it is %s, not given up", n.State), dr.KindConflict, "understudy notify dead list")
		}
		if err := json.Unmarshal([]byte(doc), &n); err != nil {
			return err
		}
		n.ID = id
		return change(tx, &n)
	})
	return n, err
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

// PruneNotifications forgets those that were sent, but for the newest keep. What was given up stays until a person drops it.
func (s *Store) PruneNotifications(ctx context.Context, keep int) error {
	_, err := s.exec(ctx, "forget old notifications", `DELETE FROM notifications WHERE state = 'sent' AND id <=
		(SELECT id FROM notifications ORDER BY id DESC LIMIT 1 OFFSET ?)`, keep)
	return err
}
