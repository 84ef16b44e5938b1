package pages

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// access is what a caller may do: everything, or what the letters of a signature say.
type access struct {
	all     bool
	letters string
}

func (a access) may(letters string) bool { return a.all || strings.ContainsAny(a.letters, letters) }

func sign(key []byte, text string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// authorize finds out who calls, and whether what is asked is allowed.
func (c *call) authorize() error {
	scheme, rest, _ := strings.Cut(c.r.Header.Get("Authorization"), " ")
	switch {
	case scheme == "SharedKey":
		name, signature, _ := strings.Cut(rest, ":")
		if name != c.a.name || signature != sign(c.a.key, c.stringToSign()) {
			return fail(http.StatusForbidden, "AuthenticationFailed", "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.")
		}
		c.who = access{all: true}
	case scheme == "Bearer":
		if c.s.o.Token == nil || !c.s.o.Token(rest) {
			return fail(http.StatusUnauthorized, "InvalidAuthenticationInfo", "the token is not valid")
		}
		c.who = access{all: true}
	case c.q.Has("sig"):
		var err error
		if c.who, err = c.signature(c.r.URL, c.a, c.containerName, c.blobName); err != nil {
			return err
		}
	default:
		if in := c.a.containers[c.containerName]; in != nil && in.public != "" {
			c.who = access{letters: "r"}
			if in.public == "container" {
				c.who.letters = "rl"
			}
			break
		}
		c.w.Header().Set("WWW-Authenticate", "Bearer authorization_uri=https://login.microsoftonline.com/tenant/oauth2/authorize resource_id=https://storage.azure.com")
		return fail(http.StatusUnauthorized, "NoAuthenticationInformation", "the request says nothing of who makes it")
	}
	if !c.who.may(c.needs()) {
		return fail(http.StatusForbidden, "AuthorizationPermissionMismatch", "the signature does not allow this")
	}
	return nil
}

// needs are the letters of which one allows what is asked.
func (c *call) needs() string {
	switch {
	case c.q.Get("comp") == "list":
		return "l"
	case c.q.Get("comp") == "tags":
		return "t"
	case c.q.Get("comp") == "blobs":
		return "f"
	case c.r.Method == http.MethodDelete:
		return "dxy"
	case c.r.Method == http.MethodGet, c.r.Method == http.MethodHead:
		return "r"
	case c.q.Get("comp") == "page", c.q.Get("comp") == "properties", c.q.Get("comp") == "metadata":
		return "w"
	}
	return "wca"
}

// stringToSign is what the key of an account signs: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
func (c *call) stringToSign() string {
	h := c.r.Header
	length := ""
	if c.r.ContentLength > 0 {
		length = strconv.FormatInt(c.r.ContentLength, 10)
	}
	lines := []string{c.r.Method, h.Get("Content-Encoding"), h.Get("Content-Language"), length, h.Get("Content-MD5"), h.Get("Content-Type"), "",
		h.Get("If-Modified-Since"), h.Get("If-Match"), h.Get("If-None-Match"), h.Get("If-Unmodified-Since"), h.Get("Range")}
	var own []string
	for name := range h {
		if low := strings.ToLower(name); strings.HasPrefix(low, "x-ms-") {
			own = append(own, low)
		}
	}
	// They are ordered as a dictionary does: hyphens do not count at first.
	slices.SortFunc(own, func(a, b string) int {
		return strings.Compare(strings.ReplaceAll(a, "-", "")+"\x00"+a, strings.ReplaceAll(b, "-", "")+"\x00"+b)
	})
	for _, name := range own {
		lines = append(lines, name+":"+strings.Join(h.Values(name), ","))
	}
	resource := "/" + c.a.name + c.r.URL.EscapedPath()
	lines = append(lines, resource)
	var names []string
	for name := range c.q {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		values := slices.Sorted(slices.Values(c.q[name]))
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(values, ","))
	}
	return strings.Join(lines, "\n")
}

// signature checks a shared access signature and returns what it allows: of an account, a service, or a user.
func (c *call) signature(u *url.URL, a *account, containerName, blobName string) (access, error) {
	q := u.Query()
	name := "/blob/" + a.name + "/" + containerName
	if sr := q.Get("sr"); sr == "b" || sr == "bs" || sr == "bv" {
		name += "/" + blobName
	}
	at := ""
	if q.Get("sr") == "bs" {
		at = q.Get("snapshot")
	}
	key, lines := a.key, []string(nil)
	shown := []string{q.Get("rscc"), q.Get("rscd"), q.Get("rsce"), q.Get("rscl"), q.Get("rsct")}
	switch {
	case q.Has("ss"):
		lines = []string{a.name, q.Get("sp"), q.Get("ss"), q.Get("srt"), q.Get("st"), q.Get("se"), q.Get("sip"), q.Get("spr"), q.Get("sv"), q.Get("ses"), ""}
	case q.Has("skoid"):
		key = a.delegated[q.Get("skt")+q.Get("ske")]
		lines = append([]string{q.Get("sp"), q.Get("st"), q.Get("se"), name, q.Get("skoid"), q.Get("sktid"), q.Get("skt"), q.Get("ske"), q.Get("sks"), q.Get("skv"),
			q.Get("saoid"), q.Get("suoid"), q.Get("scid"), q.Get("skdutid"), q.Get("sduoid"), q.Get("sip"), q.Get("spr"), q.Get("sv"), q.Get("sr"), at, q.Get("ses"), "", ""}, shown...)
	default:
		lines = append([]string{q.Get("sp"), q.Get("st"), q.Get("se"), name, q.Get("si"), q.Get("sip"), q.Get("spr"), q.Get("sv"), q.Get("sr"), at, q.Get("ses")}, shown...)
	}
	starts, startErr := time.Parse(time.RFC3339, q.Get("st"))
	ends, endErr := time.Parse(time.RFC3339, q.Get("se"))
	host, _, _ := net.SplitHostPort(c.r.RemoteAddr)
	switch {
	case key == nil || q.Get("sig") != sign(key, strings.Join(lines, "\n")):
		return access{}, fail(http.StatusForbidden, "AuthenticationFailed", "Signature did not match.")
	case endErr != nil || !ends.After(c.now) || q.Get("st") != "" && (startErr != nil || starts.After(c.now)):
		return access{}, fail(http.StatusForbidden, "AuthenticationFailed", "Signature not valid in the specified time frame: it is for [%s, %s].", q.Get("st"), q.Get("se"))
	case q.Get("sip") != "" && q.Get("sip") != host:
		return access{}, fail(http.StatusForbidden, "AuthorizationSourceIPMismatch", "the signature is for %s", q.Get("sip"))
	case q.Get("spr") == "https" && c.r.TLS == nil:
		return access{}, fail(http.StatusForbidden, "AuthorizationProtocolMismatch", "the signature is for https")
	}
	return access{letters: q.Get("sp")}, nil
}
