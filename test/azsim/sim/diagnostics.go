package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/image/bmp"
)

// consolePath is where boot diagnostics are.
const consolePath = "/_console/"

// usualGrant is how long the addresses of boot diagnostics are good for, unless it is said, in minutes.
const usualGrant = 120

// diagnostics answers with where the boot diagnostics of a machine are. It needs the lock.
func (s *Sim) diagnostics(r *http.Request, vm *resource) answer {
	if on, _ := vm.doc.at("properties.diagnosticsProfile.bootDiagnostics.enabled").(bool); !on {
		return answer{err: refusal(http.StatusConflict, "OperationNotAllowed", "Boot diagnostics is not enabled on VM '%s'.", vm.name)}
	}
	minutes := usualGrant
	if text := r.URL.Query().Get("sasUriExpirationTimeInMinutes"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1440 {
			return answer{err: refusal(http.StatusBadRequest, "InvalidParameter", "The value of parameter sasUriExpirationTimeInMinutes is invalid.")}
		}
		minutes = n
	}
	grant := func(name string) string {
		path := consolePath + strings.TrimPrefix(vm.id, "/") + "/" + name
		ends := s.o.Now().Add(time.Duration(minutes) * time.Minute).UTC().Format(time.RFC3339)
		return s.URL() + path + "?" + url.Values{"sr": {"b"}, "sp": {"r"}, "se": {ends}, "sig": {sign(path, ends)}}.Encode()
	}
	return answer{status: http.StatusOK, body: doc{"consoleScreenshotBlobUri": grant("screenshot.bmp"), "serialConsoleLogBlobUri": grant("serialconsole.log")}}
}

func sign(path, ends string) string {
	sum := sha256.Sum256([]byte("boot diagnostics\x00" + path + "\x00" + ends))
	return hex.EncodeToString(sum[:])
}

func (s *Sim) serveConsole(w http.ResponseWriter, r *http.Request) {
	ends := r.URL.Query().Get("se")
	until, err := time.Parse(time.RFC3339, ends)
	if err != nil || r.URL.Query().Get("sig") != sign(r.URL.Path, ends) || s.o.Now().After(until) || r.Method != http.MethodGet {
		w.Header().Set("x-ms-error-code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
		return
	}
	path := "/" + strings.TrimPrefix(r.URL.Path, consolePath)
	at := strings.LastIndex(path, "/")
	id, name := path[:at], path[at+1:]
	s.mu.Lock()
	vm, power := s.find(id), ""
	if g := s.guests[strings.ToLower(id)]; g != nil {
		power = g.power
	}
	s.mu.Unlock()
	switch {
	case vm == nil:
		http.NotFound(w, r)
	case name == "serialconsole.log":
		text := fmt.Sprintf("[    0.000000] Linux version 6.1.0-cloud-amd64\n[    1.500000] systemd[1]: Hostname set to <%s>.\n\n%s login: ", vm.name, vm.name)
		switch {
		case s.o.Console != nil:
			text = s.o.Console(vm.id)
		case power != "running":
			text = ""
		}
		_, _ = w.Write([]byte(text)) // who asks may go away
	case name == "screenshot.bmp" && power == "running":
		_, _ = w.Write(screen()) // who asks may go away
	default:
		http.NotFound(w, r)
	}
}

// screen is a text screen with a prompt.
func screen() []byte {
	picture := image.NewRGBA(image.Rect(0, 0, 320, 200))
	for y := range 200 {
		for x := range 320 {
			c := color.RGBA{A: 255}
			if y > 20 && y < 28 && x > 10 && x < 90 && x%8 < 6 {
				c = color.RGBA{R: 170, G: 170, B: 170, A: 255}
			}
			picture.SetRGBA(x, y, c)
		}
	}
	var out bytes.Buffer
	_ = bmp.Encode(&out, picture) // into memory
	return out.Bytes()
}
