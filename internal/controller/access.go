package controller

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"understudy/internal/access"
	"understudy/internal/access/password"
	"understudy/internal/dr"
	"understudy/internal/store"
)

// BootstrapFile is the file in the data folder with the token that makes the first user. It is there as long as there is
// no user.
const BootstrapFile = "bootstrap-token"

// localAdmin names the token in the data folder.
const localAdmin = "admin"

// prepareAccess makes the administrator's token, and the bootstrap token when there is no user.
func (c *Controller) prepareAccess(ctx context.Context) error {
	secret, err := c.keepSecret(TokenFile, "us_")
	if err != nil {
		return fmt.Errorf("make token: %w", err)
	}
	all := access.Grants{{Role: access.Admin, Scope: access.Everywhere}}
	if err := c.store.PutToken(ctx, store.Token{Name: localAdmin, Grants: all, Person: "token " + localAdmin}, secret); err != nil {
		return fmt.Errorf("make token: %w", err)
	}
	users, err := c.store.Users(ctx)
	if err != nil {
		return err
	}
	if len(users) > 0 { // a controller may have died between making the first user and removing the file
		return c.forgetBootstrap()
	}
	if _, err := c.keepSecret(BootstrapFile, "usb_"); err != nil {
		return fmt.Errorf("make bootstrap token: %w", err)
	}
	return nil
}

// keepSecret reads the secret in a file of the data folder, and makes it when there is none.
func (c *Controller) keepSecret(name, prefix string) (string, error) {
	file := filepath.Join(c.cfg.Dir, name)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		data = []byte(prefix + random(24) + "\n")
		err = writeFile(file, data)
	}
	return strings.TrimSpace(string(data)), err
}

func (c *Controller) forgetBootstrap() error {
	if err := os.Remove(filepath.Join(c.cfg.Dir, BootstrapFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the bootstrap token: %w", err)
	}
	return nil
}

// Bootstrappable reports whether the first user is still to be made with the bootstrap token.
func (c *Controller) Bootstrappable(ctx context.Context) (bool, error) {
	users, err := c.store.Users(ctx)
	if err != nil || len(users) > 0 {
		return false, err
	}
	_, err = os.Stat(filepath.Join(c.cfg.Dir, BootstrapFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Bootstrap makes the first user, an administrator, once.
func (c *Controller) Bootstrap(ctx context.Context, token, user, secret string) error {
	data, err := os.ReadFile(filepath.Join(c.cfg.Dir, BootstrapFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the bootstrap token: %w", err)
	}
	if err != nil || subtle.ConstantTimeCompare([]byte(strings.TrimSpace(string(data))), []byte(token)) != 1 {
		return dr.WithHint(errors.New("the bootstrap token is not valid"), dr.KindForbidden,
			"it is in the controller's data folder, in the file "+BootstrapFile+", until it was used once")
	}
	if err := checkUserName(user); err != nil {
		return err
	}
	hash, err := newPassword(ctx, secret)
	if err != nil {
		return err
	}
	u := store.User{Name: user, Password: hash, Grants: access.Grants{{Role: access.Admin, Scope: access.Everywhere}}}
	if err := c.store.FirstUser(ctx, u); err != nil {
		return err
	}
	// The file is worth nothing from here on; a start removes it, too.
	if err := c.forgetBootstrap(); err != nil {
		c.log.Warn("bootstrap", "err", err)
	}
	return nil
}

// userName leaves out "/", which is in the names of those that a provider of identities knows.
var userName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,62}$`)

func checkUserName(name string) error {
	if !userName.MatchString(name) {
		return dr.WithHint(fmt.Errorf("%q is no name of a user", name), dr.KindInvalid, "use lower-case letters, digits and . _ @ -")
	}
	return nil
}

func newPassword(ctx context.Context, secret string) (string, error) {
	if err := password.Check(secret); err != nil {
		return "", err
	}
	return password.Hash(ctx, secret)
}

// errLogin does not say which of the two is wrong.
var errLogin = errors.New("the user or the password is wrong")

func (c *Controller) checkPassword(ctx context.Context, user, secret string) (store.User, error) {
	u, err := c.store.User(ctx, user)
	if err != nil && dr.KindOf(err) != dr.KindNotFound {
		return u, err
	}
	ok, err := password.Matches(ctx, secret, u.Password)
	if err == nil && !ok {
		err = dr.WithHint(errLogin, dr.KindForbidden, "an administrator sets passwords: understudy user password NAME")
	}
	return u, err
}

// Login checks a password and begins a session. The secret is its cookie.
func (c *Controller) Login(ctx context.Context, user, secret string) (cookie string, _ access.Caller, err error) {
	u, err := c.checkPassword(ctx, user, secret)
	if err != nil {
		return "", access.Caller{}, err
	}
	if _, err := c.store.ChangeUser(ctx, u.Name, func(u *store.User) error {
		if u.Password == "" { // it was removed meanwhile
			return dr.WithHint(errLogin, dr.KindForbidden, "")
		}
		u.Login = c.cfg.Now().UTC()
		return nil
	}); err != nil {
		return "", access.Caller{}, err
	}
	return c.beginSession(ctx, store.Session{User: u.Name, Person: u.Name, Method: "password"})
}

// LoginAs begins a session of someone whom a provider of identities knows; without grants it is refused. Sessions that the
// person has from before, with other grants, end, and without grants the person's tokens, too.
func (c *Controller) LoginAs(ctx context.Context, user, person, method string, grants access.Grants) (cookie string, _ access.Caller, err error) {
	if err := errors.Join(grants.Validate(), c.store.EndOthers(ctx, person, grants)); err != nil {
		return "", access.Caller{}, err
	}
	if len(grants) == 0 {
		return "", access.Caller{}, dr.WithHint(fmt.Errorf("%s is in no group that has a role here", user), dr.KindForbidden,
			"an administrator gives roles to groups in the file that `understudy serve --oidc` names")
	}
	return c.beginSession(ctx, store.Session{User: user, Person: person, Method: method, Grants: grants})
}

func (c *Controller) beginSession(ctx context.Context, v store.Session) (cookie string, _ access.Caller, err error) {
	cookie, v, err = c.store.AddSession(ctx, v)
	if err != nil {
		return "", access.Caller{}, err
	}
	who, err := c.sessionCaller(ctx, v)
	return cookie, who, err
}

// Logout ends a session.
func (c *Controller) Logout(ctx context.Context, cookie string) error {
	return c.store.EndSession(ctx, cookie)
}

// CheckSession returns who has a session's cookie.
func (c *Controller) CheckSession(ctx context.Context, cookie string) (access.Caller, error) {
	v, err := c.store.CheckSession(ctx, cookie)
	if err != nil {
		return access.Caller{}, err
	}
	return c.sessionCaller(ctx, v)
}

// sessionCaller looks up what a user may do now; those of a provider of identities keep what they had at the login.
func (c *Controller) sessionCaller(ctx context.Context, v store.Session) (access.Caller, error) {
	who := access.Caller{Name: v.User, Person: v.Person, Owner: v.User, Method: v.Method, Grants: v.Grants, Expires: v.Expires}
	if v.Method == "password" {
		u, err := c.store.User(ctx, v.User)
		if err != nil {
			return access.Caller{}, err
		}
		who.Grants = u.Grants
	}
	return who, nil
}

// CheckToken returns who has a token's secret.
func (c *Controller) CheckToken(ctx context.Context, secret string) (access.Caller, error) {
	t, err := c.store.CheckToken(ctx, secret)
	if err != nil {
		return access.Caller{}, err
	}
	who := access.Caller{Name: t.Name, Person: t.Person, Owner: t.Owner, Method: "token", Grants: t.Grants, Expires: t.Expires}
	if t.Name != localAdmin {
		who.Name = "token/" + t.Name
	}
	return who, nil
}

// Users lists the users.
func (c *Controller) Users(ctx context.Context) ([]store.User, error) { return c.store.Users(ctx) }

// User returns a user.
func (c *Controller) User(ctx context.Context, name string) (store.User, error) {
	return c.store.User(ctx, name)
}

// PutUser adds a user or changes what one may do. An empty password leaves it as it is; a new user without one cannot
// log in yet.
func (c *Controller) PutUser(ctx context.Context, name string, grants access.Grants, secret string) (store.User, error) {
	if err := errors.Join(checkUserName(name), grants.Validate()); err != nil {
		return store.User{}, err
	}
	var hash string
	if secret != "" {
		var err error
		if hash, err = newPassword(ctx, secret); err != nil {
			return store.User{}, err
		}
	}
	u, err := c.store.ChangeUser(ctx, name, func(u *store.User) error {
		u.Grants = grants.Sorted()
		if hash != "" {
			u.Password = hash
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	return u, c.forgetBootstrap()
}

// SetPassword changes a user's password and ends the user's sessions. With check the current one has to be right.
func (c *Controller) SetPassword(ctx context.Context, name, current, secret string, check bool) error {
	if _, err := c.store.User(ctx, name); err != nil {
		return err
	}
	if check {
		if _, err := c.checkPassword(ctx, name, current); err != nil {
			return err
		}
	}
	hash, err := newPassword(ctx, secret)
	if err != nil {
		return err
	}
	_, err = c.store.ChangeUser(ctx, name, func(u *store.User) error { u.Password = hash; return nil })
	return err
}

// RemoveUser removes a user, with the user's sessions and tokens. Of somebody whom a provider of identities knows that is all
// that is here.
func (c *Controller) RemoveUser(ctx context.Context, name string) error {
	return c.store.DeleteUser(ctx, name)
}

// Tokens lists the tokens.
func (c *Controller) Tokens(ctx context.Context) ([]store.Token, error) { return c.store.Tokens(ctx) }

// AddToken makes a token for someone. A ttl of 0 never ends.
func (c *Controller) AddToken(ctx context.Context, name string, grants access.Grants, ttl time.Duration, by access.Caller) (secret string, _ store.Token, err error) {
	if err := errors.Join(checkUserName(name), grants.Validate()); err != nil {
		return "", store.Token{}, err
	}
	t := store.Token{Name: name, Grants: grants.Sorted(), Owner: by.Owner, Person: by.Person}
	if ttl > 0 {
		t.Expires = c.cfg.Now().Add(ttl).UTC()
	}
	return c.store.AddToken(ctx, t)
}

// RemoveToken ends a token.
func (c *Controller) RemoveToken(ctx context.Context, name string) error {
	if name == localAdmin {
		return dr.WithHint(errors.New("the token in the data folder cannot be removed"), dr.KindInvalid,
			"to change it, stop the controller, remove the file "+TokenFile+" and start it again")
	}
	return c.store.DeleteToken(ctx, name)
}
