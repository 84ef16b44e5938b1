package sim

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// tokens are the access tokens that were handed out.
type tokens struct {
	mu   sync.Mutex
	now  func() time.Time
	life time.Duration
	list map[string]time.Time // when they expire
}

func (t *tokens) make() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails
	enc := base64.RawURLEncoding
	header := enc.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	claims := enc.EncodeToString([]byte(`{"aud":"https://management.azure.com","iss":"https://sts.windows.net/sim/"}`))
	token := header + "." + claims + "." + enc.EncodeToString(raw)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list[token] = t.now().Add(t.life)
	return token
}

func (t *tokens) valid(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	expires, ok := t.list[token]
	return ok && expires.After(t.now())
}

// Credentials that the login accepts.
const (
	TenantID     = "7a0c3f60-0000-4000-8000-000000000001"
	ClientID     = "7a0c3f60-0000-4000-8000-000000000002"
	ClientSecret = "simulated"
)

// serveLogin answers for Microsoft Entra (/TENANT/...) and for AD FS (/adfs/...).
func (s *Sim) serveLogin(w http.ResponseWriter, r *http.Request) bool {
	path := strings.Trim(r.URL.Path, "/")
	base := "https://" + r.Host // as the caller knows it
	tenant, rest, _ := strings.Cut(path, "/")
	reply := func(status int, v any) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
		return true
	}
	switch {
	case path == "common/discovery/instance":
		return reply(http.StatusOK, doc{"tenant_discovery_endpoint": base + "/" + TenantID + "/v2.0/.well-known/openid-configuration", "metadata": []any{
			doc{"preferred_network": hostOf(base), "preferred_cache": hostOf(base), "aliases": []string{hostOf(base)}},
		}})
	case rest == "v2.0/.well-known/openid-configuration", tenant == "adfs" && rest == ".well-known/openid-configuration":
		oauth := base + "/" + tenant + "/oauth2/v2.0"
		if tenant == "adfs" {
			oauth = base + "/adfs/oauth2"
		}
		return reply(http.StatusOK, doc{"token_endpoint": oauth + "/token", "authorization_endpoint": oauth + "/authorize", "device_authorization_endpoint": oauth + "/devicecode",
			"issuer": base + "/" + tenant + "/v2.0", "jwks_uri": oauth + "/keys", "tenant_region_scope": "EU", "cloud_instance_name": hostOf(base)})
	case rest == "oauth2/v2.0/token", tenant == "adfs" && (rest == "oauth2/token" || rest == "oauth2/v2.0/token"):
		if err := r.ParseForm(); err != nil || r.PostForm.Get("client_secret") != ClientSecret && r.PostForm.Get("client_assertion") == "" {
			return reply(http.StatusUnauthorized, doc{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.", "error_codes": []int{7000215}})
		}
		return reply(http.StatusOK, doc{"token_type": "Bearer", "expires_in": int(s.tokens.life.Seconds()), "ext_expires_in": int(s.tokens.life.Seconds()), "access_token": s.tokens.make()})
	case path == "metadata/endpoints":
		return reply(http.StatusOK, doc{"galleryEndpoint": base, "graphEndpoint": base, "portalEndpoint": base,
			"authentication": doc{"loginEndpoint": base + "/", "audiences": []string{base}}})
	}
	return false
}

func hostOf(base string) string {
	_, host, _ := strings.Cut(base, "://")
	return host
}
