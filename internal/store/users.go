package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/store/sqlite"
)

// A User is a person with a password.
type User struct {
	Name     string        `json:"name"`
	Password string        `json:"password,omitempty"` // its hash; empty: cannot log in
	Grants   access.Grants `json:"grants"`
	Created  time.Time     `json:"created"`
	Login    time.Time     `json:"login,omitzero"` // the last one
}

const usersHint = "understudy user list"

// Users returns all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	return queryDocs[User](ctx, s.read, "read users", "SELECT doc FROM users ORDER BY name")
}

// User returns a user by name.
func (s *Store) User(ctx context.Context, name string) (User, error) {
	list, err := queryDocs[User](ctx, s.read, "read user "+name, "SELECT doc FROM users WHERE name = ?", name)
	return one(list, err, "user", name, usersHint)
}

// FirstUser adds a user if there is none; dr.KindConflict when there is one.
func (s *Store) FirstUser(ctx context.Context, u User) error {
	u.Created = s.now().UTC()
	rows, err := s.exec(ctx, "add the first user", "INSERT INTO users(name, doc) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM users)", u.Name, encode(u))
	if err == nil && rows == 0 {
		return dr.WithHint(errors.New("add the first user: there are users"), dr.KindConflict, "log in as one of them")
	}
	return err
}

// ChangeUser adds or changes a user in one transaction. It returns the result. When change sets another password the
// user's sessions end.
func (s *Store) ChangeUser(ctx context.Context, name string, change func(*User) error) (User, error) {
	var u User
	err := s.tx(ctx, "save user "+name, func(tx *sql.Tx) (err error) {
		u, err = docTx[User](ctx, tx, "user", name, "SELECT doc FROM users WHERE name = ?", name)
		if dr.KindOf(err) == dr.KindNotFound {
			u, err = User{Name: name, Created: s.now().UTC()}, nil
		}
		if err != nil {
			return err
		}
		before := u.Password
		if err := change(&u); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO users(name, doc) VALUES(?, ?) ON CONFLICT(name) DO UPDATE SET doc = excluded.doc", name, encode(u)); err != nil {
			return err
		}
		if before != "" && before != u.Password {
			_, err = tx.ExecContext(ctx, "DELETE FROM sessions WHERE user = ?", name)
		}
		return err
	})
	return u, err
}

// DeleteUser removes a user and the user's sessions and tokens; of somebody whom a provider of identities knows there is no more.
func (s *Store) DeleteUser(ctx context.Context, name string) error {
	return s.tx(ctx, "remove user "+name, func(tx *sql.Tx) error {
		var removed int64
		for _, query := range []string{"DELETE FROM users WHERE name = ?", "DELETE FROM tokens WHERE doc ->> 'owner' = ?", "DELETE FROM sessions WHERE user = ?"} {
			r, err := tx.ExecContext(ctx, query, name)
			if err != nil {
				return err
			}
			rows, err := r.RowsAffected()
			if err != nil {
				return err
			}
			removed += rows
		}
		if removed == 0 {
			return dr.WithHint(fmt.Errorf("no user named %q", name), dr.KindNotFound, usersHint)
		}
		return nil
	})
}

// A Session is a browser that someone logged in with.
type Session struct {
	User    string        `json:"user"`
	Person  string        `json:"person"` // what stays the same when the name changes
	Method  string        `json:"method"` // how the user was recognised
	Grants  access.Grants `json:"grants,omitempty"`
	Created time.Time     `json:"created"`
	Seen    time.Time     `json:"seen"`
	Expires time.Time     `json:"expires"`
}

// How long sessions last.
const (
	SessionIdle = 12 * time.Hour     // without a request
	SessionMax  = 7 * 24 * time.Hour // in any case
	sessionStep = time.Minute        // how exactly it is known when a session was last used
)

// AddSession makes a session and returns its secret, which cannot be had again.
func (s *Store) AddSession(ctx context.Context, v Session) (secret string, _ Session, err error) {
	now := s.now().UTC()
	secret = newSecret("uss_")
	v.Created, v.Seen, v.Expires = now, now, now.Add(SessionIdle)
	return secret, v, s.tx(ctx, "begin session of "+v.User, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires <= ?", nanos(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions(hash, user, expires, doc) VALUES(?, ?, ?, ?)", hashSecret(secret), v.User, nanos(v.Expires), encode(v))
		return err
	})
}

// CheckSession returns the session of a secret and lengthens it; dr.KindNotFound when there is none or it has ended.
func (s *Store) CheckSession(ctx context.Context, secret string) (Session, error) {
	now := s.now().UTC()
	list, err := queryDocs[Session](ctx, s.read, "read session", "SELECT doc FROM sessions WHERE hash = ? AND expires > ?", hashSecret(secret), nanos(now))
	if err == nil && len(list) == 0 {
		err = dr.WithHint(errors.New("the session has ended"), dr.KindNotFound, "log in again")
	}
	if err != nil {
		return Session{}, err
	}
	v := list[0]
	if now.Sub(v.Seen) < sessionStep {
		return v, nil
	}
	v.Seen, v.Expires = now, now.Add(SessionIdle)
	if end := v.Created.Add(SessionMax); v.Expires.After(end) {
		v.Expires = end
	}
	_, err = s.exec(ctx, "lengthen session", "UPDATE sessions SET expires = ?, doc = ? WHERE hash = ?", nanos(v.Expires), encode(v), hashSecret(secret))
	return v, err
}

// EndSession ends a session; one that has ended already is no error.
func (s *Store) EndSession(ctx context.Context, secret string) error {
	_, err := s.exec(ctx, "end session", "DELETE FROM sessions WHERE hash = ?", hashSecret(secret))
	return err
}

// EndOthers ends the sessions of a person that have other grants than these; all, and the person's tokens, when there are none.
func (s *Store) EndOthers(ctx context.Context, person string, grants access.Grants) error {
	return s.tx(ctx, "end sessions of "+person, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE doc ->> 'person' = ? AND coalesce(doc -> 'grants', '[]') <> ?", person, encode(grants))
		if err == nil && len(grants) == 0 {
			_, err = tx.ExecContext(ctx, "DELETE FROM tokens WHERE doc ->> 'person' = ?", person)
		}
		return err
	})
}

// A Token lets its bearer use the API. The secret is not kept, only its hash.
type Token struct {
	Name    string        `json:"name"`
	Grants  access.Grants `json:"grants"`
	Owner   string        `json:"owner,omitempty"` // the user who made it, or by whose token it was made, with whom it ends
	Person  string        `json:"person,omitempty"`
	Created time.Time     `json:"created"`
	Expires time.Time     `json:"expires,omitzero"` // zero: never
}

// AddToken makes a token and returns its secret, which cannot be had again; dr.KindConflict when its name is taken.
func (s *Store) AddToken(ctx context.Context, t Token) (secret string, _ Token, err error) {
	t.Created = s.now().UTC()
	secret = newSecret("us_")
	_, err = s.exec(ctx, "add token "+t.Name, "INSERT INTO tokens(hash, name, role, created, expires, doc) VALUES(?, ?, '', ?, ?, ?)",
		hashSecret(secret), t.Name, nanos(t.Created), nanos(t.Expires), encode(t))
	if _, unique := sqlite.Constraint(err); unique {
		err = dr.WithHint(fmt.Errorf("add token %s: that name is taken", t.Name), dr.KindConflict, "understudy token list")
	}
	return secret, t, err
}

// PutToken saves a token of a given secret, replacing the token of that name.
func (s *Store) PutToken(ctx context.Context, t Token, secret string) error {
	t.Created = s.now().UTC()
	return s.tx(ctx, "save token "+t.Name, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM tokens WHERE name = ?", t.Name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO tokens(hash, name, role, created, expires, doc) VALUES(?, ?, '', ?, ?, ?)",
			hashSecret(secret), t.Name, nanos(t.Created), nanos(t.Expires), encode(t))
		return err
	})
}

// CheckToken returns the token of a secret; dr.KindNotFound when there is none or it has ended.
func (s *Store) CheckToken(ctx context.Context, secret string) (Token, error) {
	list, err := queryDocs[Token](ctx, s.read, "read token", "SELECT doc FROM tokens WHERE hash = ? AND (expires = 0 OR expires > ?)", hashSecret(secret), nanos(s.now()))
	if err == nil && len(list) == 0 {
		err = dr.WithHint(errors.New("token is not valid"), dr.KindNotFound, "use the token in the controller's data folder")
	}
	if err != nil {
		return Token{}, err
	}
	return list[0], nil
}

// Tokens returns all tokens by name.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	return queryDocs[Token](ctx, s.read, "read tokens", "SELECT doc FROM tokens ORDER BY name")
}

// DeleteToken ends a token.
func (s *Store) DeleteToken(ctx context.Context, name string) error {
	rows, err := s.exec(ctx, "remove token "+name, "DELETE FROM tokens WHERE name = ?", name)
	if err == nil && rows == 0 {
		return dr.WithHint(fmt.Errorf("no token named %q", name), dr.KindNotFound, "understudy token list")
	}
	return err
}

// newSecret is a secret of 256 bits.
func newSecret(prefix string) string {
	var random [32]byte
	rand.Read(random[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// hashSecret is how a secret is kept. Secrets are random, so a fast hash is enough.
func hashSecret(secret string) []byte {
	hash := sha256.Sum256([]byte(secret))
	return hash[:]
}
