package azure_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"understudy/internal/site"
	"understudy/internal/site/azure"
)

// recordings are what a real Azure Stack Hub said to others, where they lie beside the project.
const recordings = "../../../../shared/fixtures/azurestack"

type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// replay serves the successful answers of recordings, by what comes after the provider: subscriptions differ.
func replay(t *testing.T, files []string) *azure.Site {
	t.Helper()
	answers := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var exchanges map[string]struct {
			Request  struct{ Method, RequestURI string }
			Response struct {
				StatusCode int
				Content    string
			}
		}
		if err := json.Unmarshal(data, &exchanges); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, e := range exchanges {
			u, err := url.Parse(e.Request.RequestURI)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if _, path, ok := strings.Cut(u.Path, "/providers/"); ok && e.Request.Method == http.MethodGet && e.Response.StatusCode == http.StatusOK {
				answers[strings.ToLower(path)] = e.Response.Content
			}
		}
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, path, _ := strings.Cut(r.URL.Path, "/providers/")
		text, ok := answers[strings.ToLower(path)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(text)) // the client may be gone
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := azure.New(azure.Config{Name: "stack", Dir: t.TempDir(), Subscription: "s", Group: "System.redmond", Cloud: "custom", Endpoint: server.URL, Authority: server.URL + "/",
		CA: ca, Updates: "redmond", Credential: anyToken{}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRecorded reads what a real stack said: an update that failed in its preparation, and alerts.
func TestRecorded(t *testing.T) {
	files, err := filepath.Glob(recordings + "/*.Recording.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Logf("nothing is replayed: there are no recordings at %s", recordings) // they are not ours to carry
		return
	}
	d := replay(t, files)
	answer, err := d.Operations(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := by(answer.Operations)
	if o := all["location/redmond"]; o.State != "UpdateFailed" || o.Outcome != site.OutcomeFailed || o.Version != "9.2222.0.222" {
		t.Errorf("location: %+v", o)
	}
	if o := all["update/Microsoft9.8888.0.888"]; o.State != "PreparationFailed" || o.Outcome != site.OutcomeFailed || o.Version != "9.8888.0.888" || !o.Summary || o.Title != "AzS Update - 9.8888.0.888" {
		t.Errorf("update: %+v", o)
	}
	o := all["run/73879a9a-5a9e-4b82-a5d3-9a6028283b15"]
	if o.State != "Failed" || o.Outcome != site.OutcomeFailed || o.Step != "Preparing to install > Update is blocked due to health check failure" || o.Started.IsZero() ||
		!strings.HasPrefix(o.Message, "Update is blocked due to health check failure.") || !strings.Contains(o.Message, "https://aka.ms/TroubleshootAzureStackUpdates") {
		t.Errorf("run: %+v", o)
	}
	if len(o.Steps) != 1 || len(o.Steps[0].Steps) != 4 || o.Steps[0].Status != "Extracted" || o.Steps[0].Steps[3].Status != "NotStarted" {
		t.Errorf("steps: %+v", o.Steps)
	}
	if o := all["alert/457ffa81-f648-4c65-aab7-1f5c504bb81e"]; o.Outcome != site.OutcomeResolved || o.Message != "" || o.Title != "Warning alert: Unable to connect to the remote service" {
		t.Errorf("closed alert: %+v", o)
	}
	if o := all["alert/a90b2a45-f4a0-4b19-bf35-61b6d862585e"]; o.Outcome != site.OutcomeAttention || !strings.HasPrefix(o.Message, "The health controller Data Pruner is unavailable.") ||
		!strings.Contains(o.Message, "https://aka.ms/azurestacklogfiles") {
		t.Errorf("alert: %+v", o)
	}
	for id, o := range all {
		if o.State == "" || o.Title == "" || o.Outcome == "" {
			t.Errorf("%s: %+v", id, o)
		}
	}
}
