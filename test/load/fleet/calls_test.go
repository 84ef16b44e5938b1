package fleet

import (
	"io"
	"log/slog"
	"testing"
	"time"
)

// BenchmarkCalls asks for what the pages of the console show; -cpuprofile says where the time goes.
func BenchmarkCalls(b *testing.B) {
	s, err := Serve(b.Context(), Options{Dir: b.TempDir(), Groups: 5000, Runs: 2000, Events: 5000, Sites: 10, RPO: 10 * time.Minute, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	if err := s.Settle(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, c := range Calls() {
		b.Run(c.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.ask(b.Context(), c.Path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
