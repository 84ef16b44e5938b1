package store

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// requestKept is for how long a request is known by its key.
const requestKept = 24 * time.Hour

// A RequestKey names a request: a key that its caller chose.
type RequestKey struct {
	Caller string
	Key    string
}

// A Request is one that is done once, however often it is sent.
type Request struct {
	RequestKey
	Digest [32]byte // of what is asked
	Done   bool
	Run    string // that it began, if it did
	// The answer, when it is done.
	Status int
	Type   string // of the body
	Body   []byte
}

type requestKey struct{}

// WithRequest lets a run that is begun with the context be recorded, in the same transaction, as what a request did.
func WithRequest(ctx context.Context, k RequestKey) context.Context {
	return context.WithValue(ctx, requestKey{}, k)
}

// BeginRequest records that a request is being done by this process, and returns it as it was known before, if it was.
// It is for the caller to do when mine: it is new, or another process began it and ended before it was done; Run then says
// what that process got to.
func (s *Store) BeginRequest(ctx context.Context, k RequestKey, digest [32]byte) (r Request, mine bool, err error) {
	err = s.tx(ctx, "begin request", func(tx *sql.Tx) error {
		now := s.now()
		if _, err := tx.ExecContext(ctx, "DELETE FROM requests WHERE begun < ?", nanos(now.Add(-requestKept))); err != nil {
			return err
		}
		r = Request{RequestKey: k, Digest: digest}
		var known []byte
		var process string
		err := tx.QueryRowContext(ctx, "SELECT digest, process, run, status, type, body FROM requests WHERE caller = ? AND key = ?", k.Caller, k.Key).
			Scan(&known, &process, &r.Run, &r.Status, &r.Type, &r.Body)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			mine = true
			_, err = tx.ExecContext(ctx, "INSERT INTO requests(caller, key, digest, process, begun, run, status, type, body) VALUES(?, ?, ?, ?, ?, '', 0, '', x'')",
				k.Caller, k.Key, digest[:], s.process, nanos(now))
			return err
		case err != nil:
			return err
		}
		copy(r.Digest[:], known)
		r.Done = r.Status != 0
		if r.Done || process == s.process || r.Digest != digest {
			return nil
		}
		mine = true
		_, err = tx.ExecContext(ctx, "UPDATE requests SET process = ? WHERE caller = ? AND key = ?", s.process, k.Caller, k.Key)
		return err
	})
	return r, mine, err
}

// EndRequest records the answer to a request.
func (s *Store) EndRequest(ctx context.Context, r Request) error {
	_, err := s.exec(ctx, "end request", "UPDATE requests SET status = ?, type = ?, body = ? WHERE caller = ? AND key = ?", r.Status, r.Type, append([]byte{}, r.Body...), r.Caller, r.Key)
	return err
}

// ForgetRequest forgets a request that was not done: its key is free again.
func (s *Store) ForgetRequest(ctx context.Context, k RequestKey) error {
	_, err := s.exec(ctx, "forget request", "DELETE FROM requests WHERE caller = ? AND key = ?", k.Caller, k.Key)
	return err
}

// noteRun records that a run is what the request of the context did.
func noteRun(ctx context.Context, tx *sql.Tx, run string) error {
	k, ok := ctx.Value(requestKey{}).(RequestKey)
	if !ok {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE requests SET run = ? WHERE caller = ? AND key = ? AND run = '' AND status = 0", run, k.Caller, k.Key)
	return err
}

// A RunCount is how many runs of a kind ended in a state.
type RunCount struct {
	Kind  string
	State RunState
	Count int
}

// RunCounts counts the runs that have ended, those that are forgotten too.
func (s *Store) RunCounts(ctx context.Context) ([]RunCount, error) {
	return queryRows(ctx, s.read, "count runs", func(r *sql.Rows) (c RunCount, err error) { return c, r.Scan(&c.Kind, &c.State, &c.Count) },
		"SELECT kind, state, count FROM run_counts ORDER BY kind, state")
}

// LastRuns returns the newest runs of every kind and group that have ended, with their kind, group, state and end only.
func (s *Store) LastRuns(ctx context.Context) ([]Run, error) {
	return queryRows(ctx, s.read, "read last runs", func(r *sql.Rows) (v Run, err error) {
		var ended int64
		err = r.Scan(&v.ID, &v.Kind, &v.Group, &v.State, &ended)
		v.Ended = instant(ended)
		return v, err
	}, `SELECT id, kind, grp, state, ended FROM (
		SELECT id, kind, grp, state, ended, row_number() OVER (PARTITION BY kind, grp ORDER BY requested DESC, id DESC) AS place FROM runs WHERE ended <> 0
	) WHERE place = 1 ORDER BY kind, grp`)
}
