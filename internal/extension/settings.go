package extension

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/extension/collector"
)

// Settings of a site about its collector.
const (
	KeyURL      = "collector.url"      // where the controller reaches it
	KeyToken    = "collector.token"    // a reference to the administrator's token
	KeyEndpoint = "collector.endpoint" // where guests reach it; KeyURL when missing
	KeyRules    = "collector.rules"    // THEIRS=OURS,...: counterparts of other sites' rules

	// KeyPrefix is what the names of all of them begin with.
	KeyPrefix = "collector."
)

// siteSettings are a site's settings about its collector, read.
type siteSettings struct {
	url, token, endpoint string
	rules                map[string]string
}

// CheckSite says what is wrong with a site's settings about its collector.
func CheckSite(s dr.Site) error {
	_, err := readSite(s)
	return err
}

func readSite(s dr.Site) (siteSettings, error) {
	c := siteSettings{url: s.Config[KeyURL], token: s.Config[KeyToken], endpoint: s.Config[KeyEndpoint], rules: map[string]string{}}
	bad := func(hint, format string, args ...any) (siteSettings, error) {
		return c, dr.WithHint(fmt.Errorf("site %s: %w", s.Name, fmt.Errorf(format, args...)), dr.KindInvalid, hint)
	}
	for key := range s.Config {
		if strings.HasPrefix(key, KeyPrefix) && key != KeyURL && key != KeyToken && key != KeyEndpoint && key != KeyRules {
			return bad("a site has: "+strings.Join([]string{KeyURL, KeyToken, KeyEndpoint, KeyRules}, ", "), "unknown setting %q", key)
		}
	}
	if c.url == "" {
		if c.token != "" || c.endpoint != "" || s.Config[KeyRules] != "" {
			return bad(KeyURL+"=http://127.0.0.1:9101", "it has settings of a collector, but no %s", KeyURL)
		}
		return c, nil
	}
	if c.endpoint == "" {
		c.endpoint = c.url
	}
	for key, text := range map[string]string{KeyURL: c.url, KeyEndpoint: c.endpoint} {
		if u, err := url.Parse(text); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return bad(key+"=http://127.0.0.1:9101", "%s: %q is no http URL", key, text)
		}
	}
	if c.token == "" {
		return bad(KeyToken+"=file:DIR/"+collector.TokenFile, "it has a collector, but no %s", KeyToken)
	}
	if err := CheckReference(c.token); err != nil {
		return bad(KeyToken+"=file:DIR/"+collector.TokenFile, "%s: %w", KeyToken, err)
	}
	for pair := range strings.SplitSeq(s.Config[KeyRules], ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		theirs, ours, ok := strings.Cut(pair, "=")
		if !ok || theirs == "" || ours == "" {
			return bad(KeyRules+"=web-east=web-west,db-east=db-west", "%s: %q is no THEIRS=OURS", KeyRules, pair)
		}
		if _, twice := c.rules[theirs]; twice {
			return bad("", "%s: %q is mapped twice", KeyRules, theirs)
		}
		c.rules[theirs] = ours
	}
	return c, nil
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// CheckReference checks a reference to a secret, without looking at it.
func CheckReference(ref string) error {
	kind, name, _ := strings.Cut(ref, ":")
	switch {
	case kind == "env" && envName.MatchString(name):
		return nil
	case kind == "file" && filepath.IsAbs(name):
		return nil
	case kind == "file":
		return fmt.Errorf("%q is no absolute path, and the controller may be started in any folder", name)
	}
	return errors.New("it is no reference to a secret: write env:NAME or file:/PATH") // not what it is: that may be the secret
}

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// Secret reads what a reference, env:NAME or file:PATH, refers to. Errors name the reference, never the value.
func Secret(ref string) (string, error) {
	if err := CheckReference(ref); err != nil {
		return "", err
	}
	kind, name, _ := strings.Cut(ref, ":")
	if kind == "env" {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", dr.WithHint(fmt.Errorf("the controller's environment has no %s", name), dr.KindUnavailable, "set it and start the controller again")
		}
		return v, nil
	}
	st, err := os.Stat(name)
	if err == nil && (!st.Mode().IsRegular() || st.Size() > maxSecret) {
		err = fmt.Errorf("%s is no small file", name)
	}
	if err != nil {
		return "", dr.WithHint(err, dr.KindUnavailable, "the controller must be able to read it")
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return "", dr.WithHint(err, dr.KindUnavailable, "the controller must be able to read it")
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
