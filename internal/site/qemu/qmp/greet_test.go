package qmp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// What QEMU had not sent to a client that died reaches the next one: before the greeting, and, for a command that was
// still being carried out, after it.
func TestDialAfterDeadClient(t *testing.T) {
	for _, tt := range []struct{ name, stale string }{
		{"replies and events", "{\"return\": {}, \"id\": 7}\r\n{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 1}}\r\n"},
		{"the end of a line", "mp\": {\"seconds\": 1}}\r\n"},
		{"nothing", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "m")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close() //nolint:errcheck // the test is over
				fmt.Fprintf(conn, "%s%s\r\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"stale\"}, \"id\": 1}\r\n", tt.stale, greeting)
				for s := bufio.NewScanner(conn); s.Scan(); {
					var r request
					if json.Unmarshal(s.Bytes(), &r) == nil {
						fmt.Fprintf(conn, "{\"return\": {}, \"id\": %d}\r\n", r.ID)
					}
				}
			}()
			c := dial(t, socket)
			if err := c.Run(t.Context(), "cont", nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDialWhatIsNoMonitor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, "220 mail\r\n")
		_ = conn.Close()
	}()
	if _, err := Dial(t.Context(), socket); err == nil || !strings.Contains(err.Error(), "no greeting") {
		t.Fatal(err)
	}
}
