package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// RunState is the state of a run.
type RunState string

// Run states.
const (
	RunPending   RunState = "pending"   // asked for, not begun
	RunRunning   RunState = "running"   // steps are being executed
	RunWaiting   RunState = "waiting"   // waits for a person
	RunSucceeded RunState = "succeeded" // ended
	RunFailed    RunState = "failed"    // ended
	RunCancelled RunState = "cancelled" // ended
)

// Ended reports whether the state is final.
func (s RunState) Ended() bool {
	return s == RunSucceeded || s == RunFailed || s == RunCancelled
}

// A Run is one execution of a recovery operation.
type Run struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"` // test-failover, failover, ...
	Group     string          `json:"group"`
	About     string          `json:"about,omitempty"` // for people, of a run that is of no group
	Point     string          `json:"point,omitempty"` // as asked for; the result names the point that was taken
	State     RunState        `json:"state"`
	Message   string          `json:"message,omitempty"` // what it is doing
	Requested time.Time       `json:"requested"`
	Started   time.Time       `json:"started,omitzero"`
	Ended     time.Time       `json:"ended,omitzero"`
	Error     string          `json:"error,omitempty"`
	ErrorKind dr.Kind         `json:"errorKind,omitempty"`
	Hint      string          `json:"hint,omitempty"`
	By        string          `json:"by,omitempty"`     // who asked
	Input     json.RawMessage `json:"input,omitempty"`  // the plan as it was when the run was asked for
	Result    json.RawMessage `json:"result,omitempty"` // what was achieved
	CleanedBy string          `json:"cleanedBy,omitempty"`
}

// A Step is one step of a run as people see it; the engine keeps what it needs to resume in its own file.
type Step struct {
	Run      string    `json:"run"`
	Name     string    `json:"name"`    // unique in the run
	Ordinal  int       `json:"ordinal"` // order of display
	Title    string    `json:"title"`
	State    RunState  `json:"state"`
	Message  string    `json:"message,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Done     int64     `json:"done,omitempty"` // bytes
	Total    int64     `json:"total,omitempty"`
	Rate     int64     `json:"rate,omitempty"` // bytes per second
	ETA      string    `json:"eta,omitempty"`  // such as 12s
}

// CreateRun records a run together with the change of the group's protection that it means, in one transaction.
// A group has one active run at most: dr.KindConflict otherwise. A run without a group is only recorded.
func (s *Store) CreateRun(ctx context.Context, r Run, change func(*Protection) error) error {
	what := fmt.Sprintf("start %s of %s", r.Kind, r.Group)
	return s.tx(ctx, what, func(tx *sql.Tx) error {
		if r.Group == "" {
			return insertRun(ctx, tx, r)
		}
		var other, kind string
		err := tx.QueryRowContext(ctx, "SELECT id, kind FROM runs WHERE grp = ? AND ended = 0", r.Group).Scan(&other, &kind)
		if err == nil {
			return dr.WithHint(fmt.Errorf("%s %s is under way", kind, other), dr.KindConflict,
				fmt.Sprintf("wait for it (understudy run watch %s) or cancel it (understudy run cancel %s)", other, other))
		}
		if err != sql.ErrNoRows {
			return err
		}
		if _, err := changeProtection(ctx, tx, s.now(), r.Group, change); err != nil {
			return err
		}
		return insertRun(ctx, tx, r)
	})
}

func insertRun(ctx context.Context, tx *sql.Tx, r Run) error {
	err := putRun(ctx, tx, r, "INSERT INTO runs(kind, grp, point, state, requested, started, ended, doc, id) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)")
	if _, unique := sqlite.Constraint(err); unique {
		return dr.WithHint(fmt.Errorf("run %s exists", r.ID), dr.KindConflict, "understudy run show "+r.ID)
	}
	if err != nil {
		return err
	}
	return noteRun(ctx, tx, r.ID)
}

func putRun(ctx context.Context, tx *sql.Tx, r Run, query string) error {
	_, err := tx.ExecContext(ctx, query, r.Kind, r.Group, r.Point, string(r.State), nanos(r.Requested), nanos(r.Started), nanos(r.Ended), encode(r), r.ID)
	return err
}

// ChangeRun replaces a run by what change makes of it, in one transaction. It returns the result.
func (s *Store) ChangeRun(ctx context.Context, id string, change func(*Run) error) (Run, error) {
	var r Run
	err := s.tx(ctx, "save run "+id, func(tx *sql.Tx) (err error) {
		r, err = s.changeRun(ctx, tx, id, change)
		return err
	})
	return r, err
}

func (s *Store) changeRun(ctx context.Context, tx *sql.Tx, id string, change func(*Run) error) (Run, error) {
	r, err := docTx[Run](ctx, tx, "run", id, "SELECT doc FROM runs WHERE id = ?", id)
	if err != nil {
		return r, err
	}
	before := r.State
	if err := change(&r); err != nil {
		return r, err
	}
	if err := putRun(ctx, tx, r, "UPDATE runs SET kind = ?, grp = ?, point = ?, state = ?, requested = ?, started = ?, ended = ?, doc = ? WHERE id = ?"); err != nil {
		return r, err
	}
	if s.ended == nil || before.Ended() || !r.State.Ended() {
		return r, nil
	}
	p, err := docTx[Protection](ctx, tx, "protection of", r.Group, "SELECT doc FROM protections WHERE grp = ?", r.Group)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return r, err
	}
	return r, s.tellTx(ctx, tx, s.ended(r, p))
}

// ChangeRunAndProtection changes a run and the protection of its group in one transaction.
func (s *Store) ChangeRunAndProtection(ctx context.Context, id string, change func(*Run, *Protection) error) error {
	return s.tx(ctx, "save run "+id, func(tx *sql.Tx) error {
		_, err := s.changeRun(ctx, tx, id, func(r *Run) error {
			_, err := changeProtection(ctx, tx, s.now(), r.Group, func(p *Protection) error { return change(r, p) })
			return err
		})
		return err
	})
}

// Run returns a run by its ID or by a unique beginning of it.
func (s *Store) Run(ctx context.Context, id string) (Run, error) {
	list, err := queryDocs[Run](ctx, s.read, "read run "+id,
		"SELECT doc FROM runs WHERE id = ?1 OR (?1 <> '' AND substr(id, 1, length(?1)) = ?1) ORDER BY id = ?1 DESC LIMIT 2", id)
	if err == nil && len(list) == 2 && list[0].ID != id {
		return Run{}, dr.WithHint(fmt.Errorf("run %q is ambiguous", id), dr.KindInvalid, "understudy run list")
	}
	return one(list, err, "run", id, "understudy run list")
}

// A RunFilter selects runs; its zero value selects all.
type RunFilter struct {
	Group  string
	Kind   string
	State  RunState
	Active bool     // not ended
	Scope  *Scope   // of no group, all: what those are about only their content says
	Alone  bool     // only those of no group
	Before RunPlace // only older ones
	Limit  int      // 0: 100
}

// A RunPlace is a place among runs; the zero place is before the newest.
type RunPlace struct {
	Requested time.Time
	ID        string
}

func (f RunFilter) where() (string, []any) {
	var where []string
	var args []any
	and := func(wanted bool, condition string, values ...any) {
		if wanted {
			where, args = append(where, condition), append(args, values...)
		}
	}
	and(f.Group != "", "grp = ?", f.Group)
	and(f.Kind != "", "kind = ?", f.Kind)
	and(f.State != "", "state = ?", string(f.State))
	and(f.Active, "ended = 0")
	and(f.Alone, "grp = ''")
	if f.Scope != nil {
		condition, groups := f.Scope.groups("grp")
		and(true, "(grp = '' OR "+condition+")", groups)
	}
	and(f.Before != RunPlace{}, "(requested, id) < (?, ?)", nanos(f.Before.Requested), f.Before.ID)
	if len(where) == 0 {
		return "", nil
	}
	return " WHERE " + strings.Join(where, " AND "), args
}

// Runs returns the runs selected, newest first.
func (s *Store) Runs(ctx context.Context, f RunFilter) ([]Run, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	where, args := f.where()
	return queryDocs[Run](ctx, s.read, "read runs", "SELECT doc FROM runs"+where+" ORDER BY requested DESC, id DESC LIMIT ?", append(args, f.Limit)...)
}

// CountRuns returns how many runs are selected, wherever they are.
func (s *Store) CountRuns(ctx context.Context, f RunFilter) (n int, err error) {
	f.Before = RunPlace{}
	where, args := f.where()
	err = s.read.QueryRowContext(ctx, "SELECT count(*) FROM runs"+where, args...).Scan(&n)
	return n, sqlite.Explain(err)
}

// PruneRuns removes runs that ended before a time, with their steps; the newest keep of each group stay whatever their
// age, as do runs that a protection still is about. It returns their IDs.
func (s *Store) PruneRuns(ctx context.Context, before time.Time, keep int) (removed []string, err error) {
	err = s.tx(ctx, "prune runs", func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT id FROM (
				SELECT id, ended, row_number() OVER (PARTITION BY grp ORDER BY requested DESC, id DESC) AS place FROM runs
			) WHERE ended <> 0 AND ended < ?1 AND place > ?2 AND id NOT IN (
				SELECT COALESCE(json_extract(doc, '$.' || field.name), '') FROM protections,
					(SELECT 'run' AS name UNION SELECT 'testRun' UNION SELECT 'provenRun') AS field)
			AND id NOT IN (SELECT run FROM exports)`, nanos(before), keep)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			removed = append(removed, id)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		for _, id := range removed {
			if _, err := tx.ExecContext(ctx, "DELETE FROM runs WHERE id = ?", id); err != nil {
				return err
			}
		}
		return nil
	})
	return removed, err
}

// PutStep saves a step of a run.
func (s *Store) PutStep(ctx context.Context, v Step) error {
	_, err := s.exec(ctx, "save step "+v.Name+" of run "+v.Run, `INSERT INTO run_steps(run, name, ordinal, doc) VALUES(?, ?, ?, ?)
		ON CONFLICT(run, name) DO UPDATE SET ordinal = excluded.ordinal, doc = excluded.doc`, v.Run, v.Name, v.Ordinal, encode(v))
	return err
}

// Step returns a step of a run and whether there is one.
func (s *Store) Step(ctx context.Context, run, name string) (Step, bool, error) {
	list, err := queryDocs[Step](ctx, s.read, "read step "+name+" of run "+run, "SELECT doc FROM run_steps WHERE run = ? AND name = ?", run, name)
	if err != nil || len(list) == 0 {
		return Step{Run: run, Name: name}, false, err
	}
	return list[0], true, nil
}

// Steps returns the steps of a run in order.
func (s *Store) Steps(ctx context.Context, run string) ([]Step, error) {
	return queryDocs[Step](ctx, s.read, "read steps of run "+run, "SELECT doc FROM run_steps WHERE run = ? ORDER BY ordinal, name", run)
}
