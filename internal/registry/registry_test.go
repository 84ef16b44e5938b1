package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestPresent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "east")
	s := dr.Site{Name: "east", Provider: "qemu", Config: map[string]string{"dir": dir}}
	if err := Present(s); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("a folder that is away: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "machines"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Present(s); err != nil {
		t.Errorf("a folder that is there: %v", err)
	}
}

// stack is a site whose updates are watched, with some more settings.
func stack(settings ...string) dr.Site {
	c := map[string]string{"subscription": "s", "resource-group": "System.redmond", "updates": "redmond"}
	for i := 0; i < len(settings); i += 2 {
		c[settings[i]] = settings[i+1]
	}
	return dr.Site{Name: "x", Provider: "azure", Config: c}
}

func TestCheck(t *testing.T) {
	for name, s := range map[string]dr.Site{
		"unknown provider": {Name: "x", Provider: "vbox"},
		"no folder":        {Name: "x", Provider: "qemu"},
		"relative folder":  {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "sites/../x"}},
		"unknown setting":  {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "color": "red"}},
		"wrong accel":      {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "accel": "hvf"}},
		"service port":     {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "service.m": "0=127.0.0.1:9101"}},
		"service address":  {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "service.m": "9100=192.0.2.1:9101"}},
		"service name":     {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "service.": "9100=127.0.0.1:9101"}},
		"services clash":   {Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "service.a": "9100=127.0.0.1:1", "service.b": "9100=127.0.0.1:2"}},
		"no machines":      {Name: "x", Provider: "image"},
		"pep alone":        stack("pep", "10.0.0.1,10.0.0.2"),
		"pep no updates":   stack("pep", "10.0.0.1", "pep-user", "a\\b", "pep-secret", "env:P", "updates", ""),
		"pep password":     stack("pep", "10.0.0.1", "pep-user", "a\\b", "pep-secret", "hunter2"),
	} {
		if err := Check(s); dr.KindOf(err) != dr.KindInvalid || dr.Hint(err) == "" || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Check(stack("pep", "10.0.0.1, 10.0.0.2:5985", "pep-user", "a\\b", "pep-secret", "file:/secret")); err != nil {
		t.Errorf("a privileged endpoint: %v", err)
	}
	if err := Check(dr.Site{Name: "x", Provider: "qemu", Config: map[string]string{"dir": "/d", "service.metrics": "9100=127.0.0.1:9101"}}); err != nil {
		t.Errorf("a site with a service: %v", err)
	}
	if err := Check(dr.Site{Name: "x", Provider: "image", Config: map[string]string{"machine.db": "/a.qcow2, /b.raw"}}); err != nil {
		t.Errorf("an image site: %v", err)
	}
}
