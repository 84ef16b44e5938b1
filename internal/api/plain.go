package api

import (
	"encoding/json"
	"net/http"

	"understudy/internal/dr"
)

// Plain answers /metrics, /livez and /readyz to whoever asks, and nothing else: for an address of its own that only
// monitoring reaches. Metrics name groups, sites, vaults and monitors.
func Plain(b Backend) http.Handler {
	setGlobals()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeOK(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := b.Ready(r.Context()); err != nil {
			writeProblem(w, asProblem(dr.WithHint(err, dr.KindUnavailable, dr.Hint(err))))
			return
		}
		writeOK(w)
	})
	turn := make(chan struct{}, 1) // one at a time: whoever may ask without a token may ask often
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-r.Context().Done():
			return
		}
		data, err := exposition(r.Context(), b)
		if err != nil {
			writeProblem(w, asProblem(err))
			return
		}
		w.Header().Set("Content-Type", string(metricsFormat))
		_, _ = w.Write(data) // the client is gone if this fails
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(http.StatusNotFound, "no such path: "+r.URL.Path, nil))
	})
	return mux
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok"}) // the client is gone if this fails
}
