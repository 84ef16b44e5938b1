package api

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"understudy/internal/access"
	"understudy/internal/access/oidc"
	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
	"understudy/internal/store"
	servers "understudy/test/need"
)

// provided is a world whose people a real provider of identities knows.
type provided struct {
	*world
	accounts string // the file of accounts
	server   *servers.Server
}

func newProvided(t *testing.T, inToken bool) *provided {
	p := &provided{accounts: filepath.Join(t.TempDir(), "accounts.json")}
	p.server = servers.OIDC(t, p.accounts, inToken)
	t.Setenv("UNDERSTUDY_TEST_OIDC", p.server.Secret)
	c, err := oidc.Parse("oidc.yaml", []byte(`
providers:
  - name: corp
    issuer: http://`+p.server.Address+`
    client-id: understudy
    client-secret: env:UNDERSTUDY_TEST_OIDC
    require-verified-email: true
    grants:
      dr-admins: ["admin@*"]
      shop-team: ["operator@group:shop", "viewer@site:east"]
`))
	if err != nil {
		t.Fatal(err)
	}
	p.world = newWorld(t, Options{OIDC: c})
	p.pass(time.Since(p.now())) // what the provider signs is of its own clock
	p.account(`"dr-admins"`, true)
	return p
}

// account sets the groups of ann.
func (p *provided) account(groups string, verified bool) {
	p.t.Helper()
	text := `{"ann": {"email": "ann@example.com", "email_verified": ` + map[bool]string{true: "true", false: "false"}[verified] + `, "groups": [` + groups + `]}}`
	if err := os.WriteFile(p.accounts, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// page gets a page as a browser does, and reads it.
func (p *provided) page(b *http.Client, method, to string, form url.Values) (*http.Response, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, string(data)
}

// begin is where a browser is sent to log in. The browser follows no redirect to the callback.
func (p *provided) begin(b *http.Client, back string) string {
	p.t.Helper()
	b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, body := p.page(b, "GET", p.url+"/v1/oidc/corp/login?return="+url.QueryEscape(back), nil)
	if resp.StatusCode != http.StatusFound {
		p.t.Fatalf("%s: %s", resp.Status, body)
	}
	return resp.Header.Get("Location")
}

var prompt = regexp.MustCompile(`name="prompt" value="([a-z]+)"`)

// answered goes through the provider's pages as ann, and returns where she is sent back to.
func (p *provided) answered(b *http.Client, to string) string {
	p.t.Helper()
	callback := ""
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasSuffix(r.URL.Path, "/callback") {
			callback = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, body := p.page(b, "GET", to, nil)
	for range 3 {
		if callback != "" {
			return callback
		}
		asked := prompt.FindStringSubmatch(body)
		if asked == nil {
			break
		}
		resp, body = p.page(b, "POST", resp.Request.URL.String(), url.Values{"prompt": {asked[1]}, "login": {"ann"}, "password": {"x"}})
	}
	if callback == "" {
		p.t.Fatalf("the provider does not send the browser back: %s %s\n%s", resp.Request.URL, resp.Status, body)
	}
	return callback
}

// logIn logs ann in, and returns the page on which she lands.
func (p *provided) logIn(b *http.Client) (*http.Response, string) {
	p.t.Helper()
	return p.page(b, "GET", p.answered(b, p.begin(b, "/groups/shop?tab=points")), nil)
}

// refused checks that a login was refused with a page that says why, and that the browser is not known.
func (p *provided) refused(b *http.Client, resp *http.Response, body string, status int, why string) {
	p.t.Helper()
	if resp.StatusCode != status || !strings.Contains(body, why) || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		p.t.Errorf("%s, want %d and %q: %s", resp.Status, status, why, body)
	}
	wantStatus(p.t, p.ask(b, "GET", "/v1/session", nil, nil), 401)
}

func TestOIDCLogin(t *testing.T) {
	for name, inToken := range map[string]bool{"claims in the token": true, "claims when asked": false} {
		t.Run(name, func(t *testing.T) {
			p := newProvided(t, inToken)
			var methods wire.LoginMethods
			p.ask(http.DefaultClient, "GET", "/v1/login-methods", nil, &methods)
			if len(methods.OIDC) != 1 || methods.OIDC[0] != (wire.OIDCLogin{Name: "corp", URL: "/v1/oidc/corp/login"}) {
				t.Errorf("%+v", methods)
			}
			b := p.browser()
			to, err := url.Parse(p.begin(b, "/"))
			if err != nil {
				t.Fatal(err)
			}
			q := to.Query()
			if q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 20 || len(q.Get("nonce")) < 20 {
				t.Errorf("%s", to)
			}
			resp, body := p.logIn(b)
			// The page goes on by itself, so that the cookie, which is Strict, goes along.
			if resp.StatusCode != 200 || !strings.Contains(body, `http-equiv="refresh" content="0;url=/groups/shop?tab=points"`) {
				t.Fatalf("%s: %s", resp.Status, body)
			}
			for _, c := range resp.Cookies() {
				switch {
				case c.Name == cookieName && (c.SameSite != http.SameSiteStrictMode || !c.HttpOnly), c.Name == loginCookie && c.MaxAge >= 0:
					t.Errorf("%+v", c)
				}
			}
			var session wire.Session
			wantStatus(t, p.ask(b, "GET", "/v1/session", nil, &session), 200)
			if session.User != "corp/ann" || session.Method != "oidc corp" || len(session.Verbs) != len(access.Verbs()) {
				t.Errorf("%+v", session)
			}
			log, err := p.c.AuditLog(t.Context(), store.AuditFilter{Actor: "corp/ann"})
			if err != nil || len(log) != 1 || log[0].Operation != opOIDCCallback || log[0].Result != access.ResultDone || log[0].Person != "oidc corp ann" {
				t.Errorf("%+v %v", log, err)
			}
		})
	}
}

func TestOIDCRefuses(t *testing.T) {
	p := newProvided(t, false)

	// Another browser, or a state that nobody began with.
	b := p.browser()
	callback := p.answered(b, p.begin(b, "/"))
	other := p.browser()
	resp, body := p.page(other, "GET", callback, nil)
	p.refused(other, resp, body, 403, "did not begin this login")
	state := regexp.MustCompile(`state=[^&]+`)
	resp, body = p.page(b, "GET", state.ReplaceAllString(callback, "state=other"), nil)
	p.refused(b, resp, body, 403, "did not begin this login")

	// What logged in once does so no more, even with the cookie of then.
	b = p.browser()
	callback = p.answered(b, p.begin(b, "/"))
	at, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	kept := b.Jar.Cookies(at)
	resp, _ = p.page(b, "GET", callback, nil)
	wantStatus(t, resp, 200)
	other = p.browser()
	for _, c := range kept {
		c.Path = "/"
	}
	other.Jar.SetCookies(at, kept)
	resp, body = p.page(other, "GET", callback, nil)
	p.refused(other, resp, body, 403, "was used already")

	// An identity that was made for another login.
	b = p.browser()
	resp, body = p.page(b, "GET", p.answered(b, regexp.MustCompile(`nonce=[^&]+`).ReplaceAllString(p.begin(b, "/"), "nonce=other")), nil)
	p.refused(b, resp, body, 403, "the nonce differs")

	// A code that was given for another login of the same browser.
	b = p.browser()
	first := p.answered(b, p.begin(b, "/"))
	second := p.begin(b, "/")
	resp, body = p.page(b, "GET", state.ReplaceAllString(first, state.FindString(second)), nil)
	p.refused(b, resp, body, 403, "exchange the code")

	// Nobody whom the provider refuses, whose address is not verified, or who has no group here.
	b = p.browser()
	resp, body = p.page(b, "GET", p.url+"/v1/oidc/corp/callback?error=access_denied&error_description=%3Cb%3Eno&"+state.FindString(p.begin(b, "/")), nil)
	p.refused(b, resp, body, 403, "access_denied")
	if strings.Contains(body, "<b>") {
		t.Errorf("not escaped: %s", body)
	}
	p.account(`"dr-admins"`, false)
	b = p.browser()
	resp, body = p.logIn(b)
	p.refused(b, resp, body, 403, "has not verified the e-mail address of corp/ann")
	p.account(`"staff"`, true)
	b = p.browser()
	resp, body = p.logIn(b)
	p.refused(b, resp, body, 403, "corp/ann is in no group that has a role here")
	log, err := p.c.AuditLog(t.Context(), store.AuditFilter{Actor: "corp/ann", Result: access.ResultRefused})
	if err != nil || len(log) < 2 || log[0].Operation != opOIDCCallback {
		t.Errorf("%+v %v", log, err)
	}

	// A login, or an identity, that is too old.
	p.account(`"dr-admins"`, true)
	b = p.browser()
	callback = p.answered(b, p.begin(b, "/"))
	p.pass(oidc.PendingFor)
	resp, body = p.page(b, "GET", callback, nil)
	p.refused(b, resp, body, 403, "took longer")
	p.pass(2 * time.Hour)
	b = p.browser()
	resp, body = p.logIn(b)
	p.refused(b, resp, body, 403, "expired")
}

// Whoever lost a group loses its rights at the next login, in every browser.
func TestOIDCGroupRemoved(t *testing.T) {
	p := newProvided(t, false)
	first, second := p.browser(), p.browser()
	p.logIn(first)
	wantStatus(t, p.ask(first, "GET", "/v1/users", nil, nil), 200)
	p.account(`"shop-team"`, true)
	resp, body := p.logIn(second)
	if resp.StatusCode != 200 {
		t.Fatal(body)
	}
	var session wire.Session
	wantStatus(t, p.ask(second, "GET", "/v1/session", nil, &session), 200)
	if len(session.Grants) != 2 {
		t.Errorf("%+v", session)
	}
	wantStatus(t, p.ask(second, "GET", "/v1/users", nil, nil), 403)
	wantStatus(t, p.ask(first, "GET", "/v1/session", nil, nil), 401)

	// The same rights again leave the other browser alone.
	resp, _ = p.logIn(first)
	wantStatus(t, resp, 200)
	wantStatus(t, p.ask(second, "GET", "/v1/session", nil, nil), 200)

	p.account("", true)
	resp, body = p.logIn(p.browser())
	p.refused(first, resp, body, 403, "no group")
	wantStatus(t, p.ask(second, "GET", "/v1/session", nil, nil), 401)
}

// Tokens end with whoever made them, also by another token, and also somebody whom only the provider knows.
func TestOIDCTokens(t *testing.T) {
	p := newProvided(t, false)
	b, ctx := p.browser(), t.Context()
	everything := []wire.RoleGrant{{Role: "admin", Scope: "*"}}
	made := func() (first, second *client.Client) {
		t.Helper()
		p.logIn(b)
		var v wire.Token
		wantStatus(t, p.ask(b, "POST", "/v1/tokens", wire.TokenRequest{Name: "anns", Grants: everything}, &v), 200)
		if v.Owner != "corp/ann" {
			t.Errorf("%+v", v)
		}
		first = client.New(p.url, v.Secret)
		v, err := first.AddToken(ctx, wire.TokenRequest{Name: "another", Grants: everything})
		if err != nil || v.Owner != "corp/ann" {
			t.Fatalf("%+v %v", v, err)
		}
		return first, client.New(p.url, v.Secret)
	}
	ended := func(tokens ...*client.Client) {
		t.Helper()
		for _, c := range tokens {
			if _, err := c.ShowSession(ctx); dr.KindOf(err) != dr.KindInvalid {
				t.Errorf("the token goes on: %v", err)
			}
		}
		wantStatus(t, p.ask(b, "GET", "/v1/session", nil, nil), 401)
	}
	first, second := made()
	admin := p.admin()
	if err := admin.RemoveUser(ctx, "corp/ann"); err != nil {
		t.Fatal(err)
	}
	ended(first, second)
	if err := admin.RemoveUser(ctx, "corp/ann"); dr.KindOf(err) != dr.KindNotFound {
		t.Errorf("%v", err)
	}
	first, second = made() // the provider still lets her in
	p.account("", true)
	resp, body := p.logIn(p.browser())
	p.refused(b, resp, body, 403, "no group")
	ended(first, second)
}

// A login comes back to a path of the console and nowhere else.
func TestOIDCReturn(t *testing.T) {
	c, err := oidc.Parse("x", []byte("providers: [{name: corp, issuer: 'http://127.0.0.1:1', client-id: u, grants: {a: ['viewer@*']}}]"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{OIDC: c})
	for _, bad := range []string{"https://elsewhere.example", "//elsewhere.example", `/\elsewhere.example`, "/\t/elsewhere.example", "groups", "javascript:alert(1)", "/" + strings.Repeat("x", 3000)} {
		var problem wire.Problem
		wantStatus(t, w.ask(w.browser(), "GET", "/v1/oidc/corp/login?return="+url.QueryEscape(bad), nil, &problem), 422)
	}
	w.pass(time.Hour)

	// A provider that is down says so, and passwords still work.
	var problem wire.Problem
	wantStatus(t, w.ask(w.browser(), "GET", "/v1/oidc/corp/login", nil, &problem), 503)
	if problem.Kind != string(dr.KindUnavailable) || !strings.Contains(problem.Hint, "other ways to log in still work") {
		t.Errorf("%+v", problem)
	}
	w.boot()
	wantStatus(t, w.ask(w.browser(), "GET", "/v1/oidc/other/login", nil, nil), 404)
	wantStatus(t, w.ask(w.browser(), "GET", "/v1/oidc/other/callback?state=x", nil, nil), 404)

	// Logins cannot be begun without end.
	status := 0
	for range 40 {
		if status = w.ask(w.browser(), "GET", "/v1/oidc/corp/login?return=x", nil, nil).StatusCode; status == 429 {
			break
		}
	}
	if status != 429 {
		t.Errorf("40 logins: %d", status)
	}
}
