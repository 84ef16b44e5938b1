package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/site"
	"understudy/internal/site/fake"
)

// world is a real controller behind the API, with a clock that the test moves.
type world struct {
	t   *testing.T
	dir string
	url string
	now func() time.Time
	c   *controller.Controller

	mu    sync.Mutex
	at    time.Time
	sites map[string]*fake.Site
	stop  func()
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), sites: map[string]*fake.Site{}}
	w.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.at
	}
	w.open(o)
	return w
}

func (w *world) open(o Options) {
	w.t.Helper()
	c, err := controller.Open(w.t.Context(), controller.Config{
		Dir: w.dir, Now: w.now, Homes: keyring.Homes{State: w.t.TempDir(), Config: w.t.TempDir()},
		OpenSite: func(s dr.Site) (site.Driver, error) { return w.site(s.Name), nil },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.c = c
	o.Now, o.Logger = w.now, slog.New(slog.NewTextHandler(w.t.Output(), nil))
	h, _ := New(c, o)
	s := httptest.NewServer(h)
	w.url = s.URL
	w.stop = sync.OnceFunc(func() {
		s.Close()
		if err := c.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
}

// reopen ends the controller and begins it anew on the same folder.
func (w *world) reopen(o Options) {
	w.stop()
	w.open(o)
}

// site is the fake site of a name; it outlives controllers.
func (w *world) site(name string) *fake.Site {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sites[name] == nil {
		w.sites[name] = fake.New(name)
	}
	return w.sites[name]
}

// machine makes a machine at a site.
func (w *world) machine(siteName, name string) {
	w.site(siteName).AddMachine(dr.Machine{Name: name, Power: dr.PowerOn, Disks: []dr.Disk{{Name: "data", Size: 1 << 20}}})
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

// file is what a file of the data folder says.
func (w *world) file(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// admin is a client with the token of the data folder.
func (w *world) admin() *client.Client { return client.New(w.url, w.file(controller.TokenFile)) }

// browser keeps cookies.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

// ask sends a request and reads the answer into out, which may be nil.
func (w *world) ask(c *http.Client, method, path string, in, out any, headers ...string) *http.Response {
	w.t.Helper()
	body := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			w.t.Fatal(err)
		}
		body = string(data)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			w.t.Fatalf("%s %s: %s: %v: %s", method, path, resp.Status, err, data)
		}
	}
	return resp
}

func wantStatus(t *testing.T, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Fatalf("%s %s: %s, want %d", resp.Request.Method, resp.Request.URL.Path, resp.Status, want)
	}
}

const goodPassword = "correct horse battery"

// boot makes the first user.
func (w *world) boot() *http.Client {
	w.t.Helper()
	b := w.browser()
	wantStatus(w.t, w.ask(b, "POST", "/v1/bootstrap", wire.Bootstrap{Token: w.file(controller.BootstrapFile), User: "ann", Password: goodPassword}, nil), 200)
	return b
}

func TestBootstrapAndSession(t *testing.T) {
	w := newWorld(t, Options{})
	var methods wire.LoginMethods
	b := w.browser()
	wantStatus(t, w.ask(b, "GET", "/v1/login-methods", nil, &methods), 200)
	if !methods.Bootstrap || !methods.Password || methods.OIDC == nil {
		t.Errorf("%+v", methods)
	}
	token := w.file(controller.BootstrapFile)
	wantStatus(t, w.ask(b, "POST", "/v1/bootstrap", wire.Bootstrap{Token: token + "x", User: "ann", Password: goodPassword}, nil), 403)
	var session wire.Session
	resp := w.ask(b, "POST", "/v1/bootstrap", wire.Bootstrap{Token: token, User: "ann", Password: goodPassword}, &session)
	wantStatus(t, resp, 200)
	if session.User != "ann" || session.Method != "password" || len(session.Verbs) != len(access.Verbs()) {
		t.Errorf("%+v", session)
	}
	cookie := resp.Cookies()[0]
	if cookie.Name != "understudy_session" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure || cookie.Path != "/" {
		t.Errorf("%+v", cookie)
	}
	// The token was valid once, and its file is gone.
	wantStatus(t, w.ask(w.browser(), "POST", "/v1/bootstrap", wire.Bootstrap{Token: token, User: "bob", Password: goodPassword}, nil), 403)
	w.ask(b, "GET", "/v1/login-methods", nil, &methods)
	if methods.Bootstrap {
		t.Error("there is a user")
	}
	wantStatus(t, w.ask(b, "GET", "/v1/session", nil, &session), 200)
	wantStatus(t, w.ask(b, "GET", "/v1/users", nil, nil), 200)

	// A session that is used goes on until its longest time; one that is not ends.
	for range 13 {
		w.pass(11 * time.Hour)
		wantStatus(t, w.ask(b, "GET", "/v1/session", nil, &session), 200)
	}
	w.pass(30 * time.Hour)
	wantStatus(t, w.ask(b, "GET", "/v1/session", nil, nil), 401)
	login := wire.Login{User: "ann", Password: goodPassword}
	wantStatus(t, w.ask(b, "POST", "/v1/session", login, nil), 200)
	w.pass(13 * time.Hour)
	wantStatus(t, w.ask(b, "GET", "/v1/session", nil, nil), 401)

	// Logging out ends it at the server, whoever still has the cookie.
	resp = w.ask(b, "POST", "/v1/session", login, nil)
	wantStatus(t, resp, 200)
	kept := resp.Cookies()[0].Value
	wantStatus(t, w.ask(b, "DELETE", "/v1/session", nil, nil), 204)
	wantStatus(t, w.ask(http.DefaultClient, "GET", "/v1/session", nil, nil, "Cookie", "understudy_session="+kept), 401)
}

// The secrets themselves are nowhere in the state file.
func TestSecretsAreHashed(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.boot()
	resp := w.ask(b, "POST", "/v1/session", wire.Login{User: "ann", Password: goodPassword}, nil)
	var token wire.Token
	w.ask(b, "POST", "/v1/tokens", wire.TokenRequest{Name: "ci", Grants: []wire.RoleGrant{{Role: "viewer", Scope: "*"}}}, &token)
	if token.Secret == "" {
		t.Fatal("no secret")
	}
	for _, file := range []string{"state.db", "state.db-wal"} {
		data, err := os.ReadFile(filepath.Join(w.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for what, secret := range map[string]string{"password": goodPassword, "cookie": resp.Cookies()[0].Value, "token": token.Secret, "admin": w.file(controller.TokenFile)} {
			if strings.Contains(string(data), secret) {
				t.Errorf("%s holds the %s", file, what)
			}
		}
	}
}

// Two people who use the bootstrap token at once do not both become administrators.
func TestBootstrapRace(t *testing.T) {
	w := newWorld(t, Options{})
	token := w.file(controller.BootstrapFile)
	var group sync.WaitGroup
	statuses := make([]int, 4)
	for i := range statuses {
		group.Go(func() {
			user := wire.Bootstrap{Token: token, User: string(rune('a' + i)), Password: goodPassword}
			statuses[i] = w.ask(http.DefaultClient, "POST", "/v1/bootstrap", user, nil).StatusCode
		})
	}
	group.Wait()
	won := 0
	for _, status := range statuses {
		switch status {
		case 200:
			won++
		case 403, 409:
		default:
			t.Errorf("status %d", status)
		}
	}
	users, err := w.admin().ListUsers(t.Context())
	if err != nil || won != 1 || len(users) != 1 {
		t.Errorf("%v: %d users, %v", statuses, len(users), err)
	}
}

func TestUsersAndTokens(t *testing.T) {
	w := newWorld(t, Options{})
	b, ctx := w.boot(), t.Context()
	change := wire.UserChange{Grants: []wire.RoleGrant{{Role: "operator", Scope: "group:shop"}}, Password: goodPassword}
	wantStatus(t, w.ask(b, "PUT", "/v1/users/bob", change, nil), 200)
	for _, bad := range []wire.UserChange{
		{Grants: []wire.RoleGrant{{Role: "king", Scope: "*"}}}, {Grants: []wire.RoleGrant{{Role: "viewer", Scope: "town:x"}}},
		{Grants: []wire.RoleGrant{}, Password: "short"},
	} {
		wantStatus(t, w.ask(b, "PUT", "/v1/users/eve", bad, nil), 422)
	}
	bob := w.browser()
	wantStatus(t, w.ask(bob, "POST", "/v1/session", wire.Login{User: "bob", Password: goodPassword}, nil), 200)
	wantStatus(t, w.ask(bob, "GET", "/v1/users", nil, nil), 403)
	wantStatus(t, w.ask(bob, "PUT", "/v1/users/ann/password", wire.PasswordChange{Password: "something else"}, nil), 403)
	wantStatus(t, w.ask(bob, "PUT", "/v1/users/bob/password", wire.PasswordChange{Current: "wrong", Password: "something else"}, nil), 403)
	wantStatus(t, w.ask(bob, "PUT", "/v1/users/bob/password", wire.PasswordChange{Current: goodPassword, Password: "something else"}, nil), 204)
	wantStatus(t, w.ask(bob, "GET", "/v1/session", nil, nil), 401) // its sessions ended
	wantStatus(t, w.ask(bob, "POST", "/v1/session", wire.Login{User: "bob", Password: "something else"}, nil), 200)

	// What a user may do changes at once, and a removed user is out at once.
	change = wire.UserChange{Grants: []wire.RoleGrant{{Role: "admin", Scope: "*"}}}
	wantStatus(t, w.ask(b, "PUT", "/v1/users/bob", change, nil), 200)
	var token wire.Token
	wantStatus(t, w.ask(bob, "POST", "/v1/tokens", wire.TokenRequest{Name: "bobs", Grants: []wire.RoleGrant{{Role: "viewer", Scope: "*"}}}, &token), 200)
	bobs := client.New(w.url, token.Secret)
	if s, err := bobs.ShowSession(ctx); err != nil || s.User != "token/bobs" || s.Method != "token" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := bobs.ListUsers(ctx); dr.KindOf(err) != dr.KindForbidden {
		t.Errorf("a viewer's token lists users: %v", err)
	}
	wantStatus(t, w.ask(b, "DELETE", "/v1/users/bob", nil, nil), 204)
	wantStatus(t, w.ask(bob, "GET", "/v1/session", nil, nil), 401)
	if _, err := bobs.ShowSession(ctx); err == nil {
		t.Error("the token of a removed user works")
	}

	// Tokens end.
	admin := w.admin()
	token, err := admin.AddToken(ctx, wire.TokenRequest{Name: "ci", Grants: []wire.RoleGrant{{Role: "viewer", Scope: "site:east"}}, TTL: wire.Duration(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	ci := client.New(w.url, token.Secret)
	if _, err := ci.ListSites(ctx); err != nil {
		t.Error(err)
	}
	if _, err := admin.AddToken(ctx, wire.TokenRequest{Name: "ci", Grants: []wire.RoleGrant{{Role: "viewer", Scope: "*"}}}); dr.KindOf(err) != dr.KindConflict {
		t.Errorf("the name is taken: %v", err)
	}
	w.pass(2 * time.Hour)
	if _, err := ci.ListSites(ctx); err == nil {
		t.Error("an expired token works")
	}
	if err := admin.RemoveToken(ctx, "admin"); dr.KindOf(err) != dr.KindInvalid {
		t.Errorf("the data folder's token: %v", err)
	}
	if err := admin.RemoveToken(ctx, "ci"); err != nil {
		t.Error(err)
	}
}

// Passwords cannot be tried often, and the answer says when to come back.
func TestLoginRate(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.boot()
	wrong := wire.Login{User: "ann", Password: "a wrong password"}
	var resp *http.Response
	tries := 0
	for range 10 {
		resp = w.ask(b, "POST", "/v1/session", wrong, nil)
		if resp.StatusCode != 403 {
			break
		}
		tries++
	}
	if resp.StatusCode != http.StatusTooManyRequests || tries != 5 || resp.Header.Get("Retry-After") != "20" {
		t.Fatalf("after %d tries: %s, Retry-After %q", tries, resp.Status, resp.Header.Get("Retry-After"))
	}
	wantStatus(t, w.ask(b, "POST", "/v1/session", wire.Login{User: "ann", Password: goodPassword}, nil), 429)
	w.pass(20 * time.Second)
	wantStatus(t, w.ask(b, "POST", "/v1/session", wire.Login{User: "ann", Password: goodPassword}, nil), 200)
	// A user who does not exist is refused in the same words.
	var known, unknown wire.Problem
	w.ask(b, "POST", "/v1/session", wrong, &known)
	w.ask(b, "POST", "/v1/session", wire.Login{User: "nobody", Password: "a wrong password"}, &unknown)
	if known.Detail != unknown.Detail || known.Status != 403 || unknown.Status != 403 {
		t.Errorf("%+v %+v", known, unknown)
	}
}

// A page of another origin cannot use a browser's session, even when the browser sent its cookie.
func TestForgedRequests(t *testing.T) {
	w := newWorld(t, Options{Secure: true})
	resp := w.ask(w.browser(), "POST", "/v1/bootstrap", wire.Bootstrap{Token: w.file(controller.BootstrapFile), User: "ann", Password: goodPassword}, nil)
	wantStatus(t, resp, 200)
	cookie := resp.Cookies()[0]
	if !cookie.Secure {
		t.Errorf("%+v", cookie)
	}
	headers := []string{"Cookie", cookie.Name + "=" + cookie.Value}
	for _, forged := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://elsewhere.example"}} {
		wantStatus(t, w.ask(http.DefaultClient, "DELETE", "/v1/session", nil, nil, append(headers, forged...)...), 403)
	}
	wantStatus(t, w.ask(http.DefaultClient, "DELETE", "/v1/session", nil, nil, append(headers, "Sec-Fetch-Site", "same-origin")...), 204)
}

// A wrong bearer token is not made good by a cookie.
func TestTokenBeforeCookie(t *testing.T) {
	w := newWorld(t, Options{})
	b := w.boot()
	wantStatus(t, w.ask(b, "GET", "/v1/session", nil, nil, "Authorization", "Bearer wrong"), 401)
	wantStatus(t, w.ask(b, "GET", "/v1/session", nil, nil, "Authorization", "Basic abc"), 401)
}
