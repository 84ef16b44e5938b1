package cli

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"understudy/internal/controller"
	"understudy/internal/dr"
	"understudy/internal/keyring"
	"understudy/internal/site"
	"understudy/internal/site/fake"
)

// Metrics at an address of their own need no token, and nothing else is there.
func TestServeMetrics(t *testing.T) {
	c, err := controller.Open(t.Context(), controller.Config{Dir: t.TempDir(), Homes: keyring.Homes{State: t.TempDir(), Config: t.TempDir()},
		OpenSite: func(s dr.Site) (site.Driver, error) { return fake.New(s.Name), nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var text strings.Builder
	log := slog.New(slog.NewTextHandler(&text, nil))
	failed := context.CancelCauseFunc(func(err error) { t.Errorf("failed: %v", err) })
	end, err := serveMetrics("127.0.0.1:0", c, log, failed)
	if err != nil {
		t.Fatal(err)
	}
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(text.String())
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/metrics": {200, "\nunderstudy_groups{health=\"healthy\"} 0\n"}, "/livez": {200, `{"status":"ok"}`}, "/readyz": {200, `{"status":"ok"}`},
		"/v1/groups": {404, "no such path"}, "/status": {404, "no such path"}, "/openapi.json": {404, "no such path"},
	} {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || !strings.Contains(string(data), want.text) {
			t.Errorf("%s: %s, %v: %.200s", path, resp.Status, err, data)
		}
	}
	resp, err := http.Post(url+"/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode < 400 {
		t.Errorf("POST: %s", resp.Status)
	}
	if _, err := serveMetrics(strings.TrimPrefix(url, "http://"), c, log, failed); dr.KindOf(err) != dr.KindUnavailable {
		t.Errorf("the address is taken: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
	off, err := serveMetrics("", c, log, failed)
	if err != nil || off() != nil || strings.Count(text.String(), "serving metrics") != 1 {
		t.Errorf("%v: %s", err, text.String())
	}
}
