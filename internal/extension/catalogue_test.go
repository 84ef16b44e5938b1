package extension

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestBuiltin(t *testing.T) {
	c, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := c["metrics-agent"]; !ok || !e.fromCollector() || e.Handlers["qemu"].timeout() == 0 {
		t.Fatalf("%+v", e)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestParse(t *testing.T) {
	const good = `name: backup
version: 2.1.0
heartbeat: {from: none}
settings: {level: high}
protected: {key: env:BACKUP_KEY}
handlers:
  qemu: {detect: [b, detect], status: [b, status], install: [b, install], remove: [b, remove], timeout: 90s}
`
	e, err := Parse("good.yaml", []byte(good))
	if err != nil || e.fromCollector() || e.Handlers["qemu"].timeout().Seconds() != 90 || e.within() != defaultWithin {
		t.Fatalf("%+v %v", e, err)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"empty":            {good, "", "x.yaml: it is empty"},
		"unknown field":    {"version: 2.1.0", "versoin: 2.1.0", `x.yaml:2:1: unknown field "versoin"`},
		"bad name":         {"name: backup", "name: Back Up", `x.yaml:1:7: name: "Back Up" is not`},
		"no version":       {"version: 2.1.0\n", "", "version: it is missing"},
		"heartbeat":        {"from: none", "from: heaven", `x.yaml:3:19: heartbeat.from: "heaven" is not collector or none`},
		"secret in plain":  {"env:BACKUP_KEY", "hunter2", "x.yaml:5:18: protected.key: it is no reference to a secret"},
		"relative secret":  {"env:BACKUP_KEY", "file:key", `"key" is no absolute path`},
		"twice":            {"level: high", "key: high", "settings.key: it is protected, too"},
		"no handler":       {"status: [b, status], ", "", "x.yaml:7:9: handlers.qemu.status: there is no program"},
		"no handlers":      {"handlers:\n  qemu: {detect: [b, detect], status: [b, status], install: [b, install], remove: [b, remove], timeout: 90s}\n", "", "handlers: there are none"},
		"timeout":          {"90s", "soon", `x.yaml:7:105: handlers.qemu.timeout: "soon" is no length of time`},
		"second document":  {"name: backup", "---\na: b\n---\nname: backup", "x.yaml"},
		"not yaml":         {"name: backup", "name: [", "x.yaml:"},
		"larger than ever": {"backup", strings.Repeat("x", maxEntry), "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			_, err := Parse("x.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error tells the secret")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("name: a\nversion: 1\nhandlers: {qemu: {detect: [a], status: [a], install: [a], remove: [a]}}\n"))
	f.Add([]byte("name: [\n"))
	f.Add([]byte("protected: {a: 'file:/x'}\nheartbeat: {from: none, within: 3}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if e, err := Parse("x.yaml", text); err == nil && (e.Name == "" || len(e.Handlers) == 0) {
			t.Fatalf("%q gives %+v", text, e)
		}
	})
}

func TestCatalogueOrder(t *testing.T) {
	c := Catalogue{"a": {Name: "a", DependsOn: []string{"c"}}, "b": {Name: "b"}, "c": {Name: "c", DependsOn: []string{"b"}}}
	if got := strings.Join(c.Names(), " "); got != "b c a" {
		t.Errorf("order %s", got)
	}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	c = c.With(Entry{Name: "b", DependsOn: []string{"a"}})
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "extension a depends on itself") {
		t.Errorf("a circle: %v", err)
	}
	if got := len(c.Names()); got != 3 {
		t.Errorf("%d names of a circle", got)
	}
	c = c.With(Entry{Name: "d", DependsOn: []string{"nothing"}})
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "d depends on nothing, which is not in the catalogue") {
		t.Error(err)
	}
}

func TestSiteSettings(t *testing.T) {
	good := map[string]string{KeyURL: "http://127.0.0.1:9101", KeyToken: "env:T", KeyRules: "a=b, c=d"}
	s, err := readSite(dr.Site{Name: "west", Config: good})
	if err != nil || s.endpoint != good[KeyURL] || s.rules["a"] != "b" || s.rules["c"] != "d" {
		t.Fatalf("%+v %v", s, err)
	}
	if err := CheckSite(dr.Site{Name: "west", Config: map[string]string{"dir": "/x"}}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ key, value, want string }{
		"no url":      {KeyURL, "", "but no collector.url"},
		"bad url":     {KeyURL, "127.0.0.1:9101", "is no http URL"},
		"bad end":     {KeyEndpoint, "ftp://x", "is no http URL"},
		"no token":    {KeyToken, "", "but no collector.token"},
		"plain token": {KeyToken, "ua_secret", "no reference"},
		"rules":       {KeyRules, "a", "no THEIRS=OURS"},
		"twice":       {KeyRules, "a=b,a=c", "mapped twice"},
		"unknown":     {"collector.rule", "x", "unknown setting"},
	} {
		c := map[string]string{}
		for k, v := range good {
			c[k] = v
		}
		if c[tt.key] = tt.value; tt.value == "" {
			delete(c, tt.key)
		}
		err := CheckSite(dr.Site{Name: "west", Config: c})
		if err == nil || !strings.Contains(err.Error(), tt.want) || dr.Hint(err) == "" && name != "twice" || strings.Contains(err.Error(), "ua_secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResolve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("UNDERSTUDY_TEST_KEY", "value")
	for _, ref := range []string{"file:" + file, "env:UNDERSTUDY_TEST_KEY"} {
		if v, err := Secret(ref); v != "value" || err != nil {
			t.Errorf("%s: %q %v", ref, v, err)
		}
	}
	for _, ref := range []string{"file:" + file + "x", "env:UNDERSTUDY_TEST_NONE", "value", "file:" + filepath.Dir(file)} {
		if v, err := Secret(ref); err == nil {
			t.Errorf("%s: %q", ref, v)
		}
	}
}
