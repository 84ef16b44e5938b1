// Package oidc lets people log in whom a provider of identities knows, by OpenID Connect: the code flow with PKCE, state and
// nonce. A file names the providers, and which of a provider's groups have which roles; whoever is in none of them does not
// get in. A provider is asked at a login only, so one that is down keeps nobody else out.
package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"understudy/internal/access"
	"understudy/internal/dr"
	"understudy/internal/extension"
	"understudy/internal/yamlpath"
)

// Config is the file of providers.
type Config struct {
	// URL is where browsers reach the console, such as https://dr.example.com; empty: where their request came to.
	URL       string           `yaml:"url,omitempty"`
	Providers []ProviderConfig `yaml:"providers"`
}

// ProviderConfig is a provider of identities.
type ProviderConfig struct {
	Name     string `yaml:"name"`
	Issuer   string `yaml:"issuer"`
	ClientID string `yaml:"client-id"`
	// ClientSecret is a reference, env:NAME or file:PATH at the controller; empty for a client that has none.
	ClientSecret string   `yaml:"client-secret,omitempty"`
	Scopes       []string `yaml:"scopes,omitempty"`       // openid, profile, email when empty
	UserClaim    string   `yaml:"user-claim,omitempty"`   // what people are called in the record; preferred_username when empty
	GroupsClaim  string   `yaml:"groups-claim,omitempty"` // groups when empty
	// RequireVerifiedEmail refuses those whose email_verified is not true.
	RequireVerifiedEmail bool `yaml:"require-verified-email,omitempty"`
	// Grants are what the members of a group may do: each ROLE@SCOPE.
	Grants map[string][]string `yaml:"grants"`

	grants map[string]access.Grants
}

const (
	maxFile   = 1 << 20 // bytes
	docHint   = "see docs/access.md"
	redirect  = "/v1/oidc/%s/callback"
	loginPath = "/v1/oidc/%s/login"
)

// LoginPath is where a browser begins to log in by a provider.
func LoginPath(name string) string { return fmt.Sprintf(loginPath, name) }

// providerName is part of paths and of the names of people.
var providerName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Read reads a file of providers.
func Read(file string) (Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, dr.WithHint(fmt.Errorf("read providers of identities: %w", err), dr.KindInvalid, "--oidc is a file of YAML, "+docHint)
	}
	return Parse(file, text)
}

// Parse reads and checks providers. Errors say file:line:column and the field.
func Parse(file string, text []byte) (Config, error) {
	var c Config
	if len(text) > maxFile {
		return c, dr.WithHint(fmt.Errorf("%s: larger than %d bytes", file, maxFile), dr.KindInvalid, docHint)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict(), yaml.DisallowUnknownField())
	if err := dec.Decode(&c); err != nil {
		return c, yamlError(file, err)
	}
	if err := dec.Decode(&Config{}); !errors.Is(err, io.EOF) {
		return c, dr.WithHint(fmt.Errorf("%s: more than one document", file), dr.KindInvalid, docHint)
	}
	k := &checker{file: file, text: text}
	k.config(&c)
	return c, errors.Join(k.errs...)
}

func yamlError(file string, err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("it is empty")
	}
	var ye yaml.Error
	if errors.As(err, &ye) && ye.GetToken() != nil {
		at := ye.GetToken().Position
		return dr.WithHint(fmt.Errorf("%s:%d:%d: %s", file, at.Line, at.Column, ye.GetMessage()), dr.KindInvalid, docHint)
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return dr.WithHint(fmt.Errorf("%s: %s", file, text), dr.KindInvalid, docHint)
}

// checker collects what is wrong with a file.
type checker struct {
	file string
	text []byte
	errs []error
}

// bad records an error at a YAML path such as $.providers[0].issuer.
func (k *checker) bad(at, hint string, err error) {
	err = fmt.Errorf("%s%s: %s: %w", k.file, yamlpath.Position(k.text, at), strings.TrimPrefix(at, "$."), err)
	k.errs = append(k.errs, dr.WithHint(err, dr.KindInvalid, hint))
}

func (k *checker) config(c *Config) {
	if c.URL != "" {
		if err := checkURL(c.URL); err != nil {
			k.bad("$.url", "url: https://dr.example.com", err)
		} else if u, err := url.Parse(c.URL); err != nil || strings.Trim(u.Path, "/") != "" {
			k.bad("$.url", "url: https://dr.example.com", errors.New("the console has no path before its own"))
		}
		c.URL = strings.TrimRight(c.URL, "/")
	}
	if len(c.Providers) == 0 {
		k.bad("$.providers", docHint, errors.New("there is none"))
	}
	names := map[string]bool{}
	for i := range c.Providers {
		p, at := &c.Providers[i], fmt.Sprintf("$.providers[%d]", i)
		if names[p.Name] {
			k.bad(at+".name", "", fmt.Errorf("%q is there twice", p.Name))
		}
		names[p.Name] = true
		k.provider(p, at)
	}
}

func (k *checker) provider(p *ProviderConfig, at string) {
	if !providerName.MatchString(p.Name) {
		k.bad(at+".name", "name: corp", fmt.Errorf("%q is not 1 to 63 lower-case letters, digits and '-'", p.Name))
	}
	if err := checkURL(p.Issuer); err != nil {
		k.bad(at+".issuer", "issuer: https://login.example.com", err)
	}
	if p.ClientID == "" {
		k.bad(at+".client-id", "the provider gives one to each client", errors.New("it is missing"))
	}
	if p.ClientSecret != "" {
		if err := extension.CheckReference(p.ClientSecret); err != nil {
			k.bad(at+".client-secret", "client-secret: file:/etc/understudy/oidc-secret", err)
		}
	}
	if len(p.Scopes) == 0 {
		p.Scopes = []string{"openid", "profile", "email"}
	} else if !slices.Contains(p.Scopes, "openid") {
		k.bad(at+".scopes", "scopes: [openid, profile, email]", errors.New("openid is not among them"))
	}
	if p.UserClaim == "" {
		p.UserClaim = "preferred_username"
	}
	if p.GroupsClaim == "" {
		p.GroupsClaim = "groups"
	}
	if len(p.Grants) == 0 {
		k.bad(at+".grants", `grants: {dr-admins: ["admin@*"]}`, errors.New("no group has a role, so nobody could log in"))
	}
	p.grants = map[string]access.Grants{}
	for _, group := range slices.Sorted(maps.Keys(p.Grants)) {
		for i, text := range p.Grants[group] {
			role, scope, ok := strings.Cut(text, "@")
			g := access.Grant{Role: access.Role(role), Scope: access.Scope(scope)}
			err := access.Grants{g}.Validate()
			if !ok {
				err = fmt.Errorf("%q is no ROLE@SCOPE", text)
			}
			if err != nil {
				hint := dr.Hint(err)
				if hint == "" {
					hint = `such as "operator@group:shop"`
				}
				k.bad(fmt.Sprintf("%s.grants.'%s'[%d]", at, group, i), hint, err)
			}
			p.grants[group] = append(p.grants[group], g)
		}
	}
}

// checkURL wants TLS, except on the same machine: whoever can change what a provider says can be anyone.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no URL of a server", text)
	}
	address := net.ParseIP(u.Hostname())
	if u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost" && !address.IsLoopback()) {
		return fmt.Errorf("%q is not https", text)
	}
	return nil
}

// granted is what the members of some groups may do.
func (p ProviderConfig) granted(groups []string) access.Grants {
	var all access.Grants
	for _, name := range groups {
		all = append(all, p.grants[name]...)
	}
	return all.Sorted()
}
