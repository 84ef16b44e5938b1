package cli

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"understudy/internal/dr"
)

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(c) // until the guest hangs up its side
			_, _ = c.Write(append([]byte("heard: "), b...))
			_ = c.Close()
		}
	}()
	var out bytes.Buffer
	if err := connect(t.Context(), l.Addr().String(), strings.NewReader("hello"), &out); err != nil || out.String() != "heard: hello" {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for _, address := range []string{"", "127.0.0.1", "192.0.2.1:80", "localhost:80", "0.0.0.0:80"} {
		if err := connect(t.Context(), address, strings.NewReader(""), io.Discard); dr.KindOf(err) != dr.KindInvalid {
			t.Errorf("%q: %v", address, err)
		}
	}
}
