package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/extension"
)

const (
	// PendingFor is how long a login may take from its beginning to the provider's answer.
	PendingFor = 10 * time.Minute
	maxPending = 10000            // logins at once, which bounds their memory
	patience   = 10 * time.Second // how long a provider has to answer a request
	maxName    = 256              // bytes of a name
	maxReturn  = 2048             // bytes of a path to return to
)

// Logins are the providers, and the logins that are under way. Those are kept in memory: after a start of the controller
// they are begun again.
type Logins struct {
	url       string
	now       func() time.Time
	providers map[string]*provider
	order     []string

	mu      sync.Mutex
	pending map[string]pending // by state
}

// pending is a login that a browser began.
type pending struct {
	provider string
	browser  [sha256.Size]byte // of the secret that its cookie has
	nonce    string
	verifier string // of PKCE
	redirect string
	back     string
	expires  time.Time
}

type provider struct {
	ProviderConfig
	now    func() time.Time
	client *http.Client

	asked singleflight.Group // many who log in while the provider does not answer ask once
	found atomic.Pointer[found]
}

// found is what a provider says of itself.
type found struct {
	oidc   *oidc.Provider
	verify *oidc.IDTokenVerifier
}

// New returns the logins of a configuration that Parse checked. now is the clock.
func New(c Config, now func() time.Time) *Logins {
	l := &Logins{url: c.URL, now: now, providers: map[string]*provider{}, pending: map[string]pending{}}
	for _, p := range c.Providers {
		l.providers[p.Name] = &provider{ProviderConfig: p, now: now, client: &http.Client{Timeout: patience}}
		l.order = append(l.order, p.Name)
	}
	return l
}

// Names lists the providers as the file has them.
func (l *Logins) Names() []string { return l.order }

func (l *Logins) provider(name string) (*provider, error) {
	if p := l.providers[name]; p != nil {
		return p, nil
	}
	return nil, dr.WithHint(fmt.Errorf("no provider of identities named %q", name), dr.KindNotFound, "GET /v1/login-methods lists them")
}

// discover asks a provider for its endpoints and keys, once.
func (p *provider) discover(ctx context.Context) (*found, error) {
	if f := p.found.Load(); f != nil {
		return f, nil
	}
	_, err, _ := p.asked.Do("", func() (any, error) {
		o, err := oidc.NewProvider(p.context(context.WithoutCancel(ctx)), p.Issuer) // others may wait for it; it has patience
		if err == nil {
			p.found.Store(&found{o, o.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now})})
		}
		return nil, err
	})
	if err != nil {
		return nil, dr.WithHint(fmt.Errorf("ask the provider of identities %s: %w", p.Name, err), dr.KindUnavailable,
			fmt.Sprintf("the controller must reach %s/.well-known/openid-configuration; other ways to log in still work", strings.TrimRight(p.Issuer, "/")))
	}
	return p.found.Load(), nil
}

func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

func (p *provider) oauth(f *found, redirect string) (*oauth2.Config, error) {
	c := &oauth2.Config{ClientID: p.ClientID, Endpoint: f.oidc.Endpoint(), RedirectURL: redirect, Scopes: p.Scopes}
	if p.ClientSecret == "" {
		return c, nil
	}
	var err error
	if c.ClientSecret, err = extension.Secret(p.ClientSecret); err != nil {
		return nil, fmt.Errorf("read the secret of the provider of identities %s: %w", p.Name, err)
	}
	return c, nil
}

// ownPath reports whether a path is one of this server, as browsers read it: they take \ for /, leave out tabs and ends
// of lines, and go to another server after //.
func ownPath(path string) bool {
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && len(path) <= maxReturn && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") &&
		!strings.Contains(path, `\`) && !strings.ContainsFunc(path, unicode.IsControl)
}

// Begin begins a login: the browser goes to the URL, and keeps the secret in a cookie. Afterwards it comes back to the path
// back. base is where the browser's request came to.
func (l *Logins) Begin(ctx context.Context, name, base, back string) (to, secret string, err error) {
	p, err := l.provider(name)
	if err != nil {
		return "", "", err
	}
	if !ownPath(back) {
		return "", "", dr.WithHint(errors.New("return is no path of this console"), dr.KindInvalid, "give a path, such as ?return=/groups/shop")
	}
	f, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	if l.url != "" {
		base = l.url
	}
	v := pending{provider: name, nonce: rand.Text(), verifier: oauth2.GenerateVerifier(), redirect: base + fmt.Sprintf(redirect, name), back: back}
	c, err := p.oauth(f, v.redirect)
	if err != nil {
		return "", "", err
	}
	state, secret := rand.Text(), rand.Text()
	v.browser, v.expires = sha256.Sum256([]byte(secret)), l.now().Add(PendingFor)
	if err := l.keep(state, v); err != nil {
		return "", "", err
	}
	return c.AuthCodeURL(state, oidc.Nonce(v.nonce), oauth2.S256ChallengeOption(v.verifier)), secret, nil
}

func (l *Logins) keep(state string, v pending) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) >= maxPending {
		for key, one := range l.pending {
			if !l.now().Before(one.expires) {
				delete(l.pending, key)
			}
		}
	}
	if len(l.pending) >= maxPending {
		return dr.WithHint(errors.New("too many logins are under way"), dr.KindUnavailable, fmt.Sprintf("try again in %s", PendingFor))
	}
	l.pending[state] = v
	return nil
}

// take ends a login that is under way: each can be used once, whatever comes of it, by the browser that began it.
func (l *Logins) take(name, state, secret string) (pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.pending[state]
	sum := sha256.Sum256([]byte(secret))
	if !ok || v.provider != name || subtle.ConstantTimeCompare(v.browser[:], sum[:]) != 1 {
		return v, dr.WithHint(errors.New("this browser did not begin this login, or it was used already"), dr.KindForbidden, "sign in again")
	}
	delete(l.pending, state)
	if !l.now().Before(v.expires) {
		return v, dr.WithHint(fmt.Errorf("the login took longer than %s", PendingFor), dr.KindForbidden, "sign in again")
	}
	return v, nil
}

// An Answer is what a provider sent the browser back with.
type Answer struct {
	State, Code        string
	Error, Description string // why the provider refused
}

// An Identity is who a provider says logged in.
type Identity struct {
	User   string // PROVIDER/NAME, for the record
	Person string // stays the same when the name changes
	Method string
	Grants access.Grants // none: no group of the person has a role
	Back   string        // the path to return to
}

// End ends a login with the provider's answer. The identity has what is known when there is an error.
func (l *Logins) End(ctx context.Context, name, secret string, a Answer) (Identity, error) {
	id := Identity{Method: "oidc " + name}
	p, err := l.provider(name)
	if err != nil {
		return Identity{}, err
	}
	v, err := l.take(name, a.State, secret)
	if err != nil {
		return id, err
	}
	id.Back = v.back
	if a.Error != "" {
		return id, dr.WithHint(fmt.Errorf("%s refused the login: %.100q %.300q", name, a.Error, a.Description), dr.KindForbidden, "sign in again, or ask who administers "+name)
	}
	f, err := p.discover(ctx)
	if err != nil {
		return id, err
	}
	c, err := p.oauth(f, v.redirect)
	if err != nil {
		return id, err
	}
	ctx = p.context(ctx)
	token, err := c.Exchange(ctx, a.Code, oauth2.VerifierOption(v.verifier))
	if err != nil {
		return id, p.failed("exchange the code", err)
	}
	raw, _ := token.Extra("id_token").(string)
	t, err := f.verify.Verify(ctx, raw)
	if err != nil {
		return id, p.failed("verify the identity", err)
	}
	if subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(v.nonce)) != 1 {
		return id, p.failed("verify the identity", errors.New("it was made for another login: the nonce differs"))
	}
	all := claims{}
	if err := t.Claims(&all); err != nil {
		return id, p.failed("read the identity", err)
	}
	if !all.has(p.UserClaim, p.GroupsClaim) && f.oidc.UserInfoEndpoint() != "" { // many tell these there only
		if err := more(ctx, f, c.TokenSource(ctx, token), t.Subject, all); err != nil {
			return id, p.failed("ask about the identity", err)
		}
	}
	return id, p.identify(&id, t.Subject, all)
}

// failed is the error of talking with a provider: that it refused, or that it cannot be reached.
func (p *provider) failed(doing string, err error) error {
	var refused *oauth2.RetrieveError
	var away *url.Error
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode >= 500 || errors.As(err, &away) {
		return dr.WithHint(fmt.Errorf("%s of %s: %w", doing, p.Name, err), dr.KindUnavailable,
			"the controller must reach "+p.Issuer+"; other ways to log in still work")
	}
	return dr.WithHint(fmt.Errorf("%s of %s: %w", doing, p.Name, err), dr.KindForbidden,
		"sign in again; if that fails, too, check client-id, client-secret, and the clocks")
}

// claims are what a provider says of a person.
type claims map[string]json.RawMessage

func (c claims) has(names ...string) bool {
	for _, name := range names {
		if _, ok := c[name]; !ok {
			return false
		}
	}
	return true
}

func (c claims) text(name string) string {
	var s string
	if err := json.Unmarshal(c[name], &s); err != nil {
		return ""
	}
	return s
}

// list reads a claim that is a list, or one alone.
func (c claims) list(name string) []string {
	var list []string
	if err := json.Unmarshal(c[name], &list); err != nil {
		if s := c.text(name); s != "" {
			return []string{s}
		}
	}
	return list
}

func (c claims) yes(name string) bool {
	return string(c[name]) == "true" || c.text(name) == "true" // some write it as text
}

// more adds what a provider says of a person apart from the identity, which itself has precedence.
func more(ctx context.Context, f *found, source oauth2.TokenSource, subject string, all claims) error {
	info, err := f.oidc.UserInfo(ctx, source)
	if err != nil {
		return err
	}
	if info.Subject != subject {
		return errors.New("the provider told about another person")
	}
	told := claims{}
	if err := info.Claims(&told); err != nil {
		return err
	}
	for name, value := range told {
		if _, ok := all[name]; !ok {
			all[name] = value
		}
	}
	return nil
}

// identify says who the person of some claims is, and what that person may do.
func (p *provider) identify(id *Identity, subject string, all claims) error {
	name := all.text(p.UserClaim)
	switch {
	case subject == "":
		return p.failed("read the identity", errors.New("it has no subject"))
	case name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) && r != ' ' }):
		return dr.WithHint(fmt.Errorf("%s did not say who this is: the claim %s is missing or no name", p.Name, p.UserClaim), dr.KindForbidden,
			"choose another with user-claim, or ask for it with scopes")
	}
	id.User, id.Person = p.Name+"/"+name, id.Method+" "+subject
	if p.RequireVerifiedEmail && !all.yes("email_verified") {
		return dr.WithHint(fmt.Errorf("%s has not verified the e-mail address of %s", p.Name, id.User), dr.KindForbidden, "verify it at the provider, and sign in again")
	}
	id.Grants = p.granted(all.list(p.GroupsClaim))
	return nil
}
