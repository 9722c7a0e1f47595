// A receiver of callbacks: verifies each request, and keeps its body in a folder for a worker of yours.
//
//	SIGNING_KEYS='whsec_...' INBOX=/var/lib/inbox go run receiver.go [PORT]
//
// Go 1.21 or newer, its standard library only. Several keys are separated by spaces.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const tolerance = 5 * time.Minute // an older request may be a recorded one
const maxBody = 2 * 1024 * 1024   // bytes: callbacks have less

var idForm = regexp.MustCompile(`^[\w.-]{1,100}$`)
var timeForm = regexp.MustCompile(`^[0-9]{1,10}$`)

// keysIn returns the secrets of the keys. With an empty secret, anybody could sign: such a program must not start.
func keysIn(text string) [][]byte {
	var secrets [][]byte
	for _, key := range strings.Fields(text) {
		encoded, found := strings.CutPrefix(key, "whsec_")
		secret, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
		if !found || err != nil || len(secret) < 24 {
			log.Fatal("SIGNING_KEYS has something that is no key")
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		log.Fatal("SIGNING_KEYS must be keys that begin with whsec_, separated by spaces")
	}
	return secrets
}

// verify returns an error that says why a request is no callback. body is the bytes as they came, before any parsing.
func verify(header http.Header, body []byte, keys [][]byte, now time.Time) error {
	id, timestamp := header.Get("webhook-id"), header.Get("webhook-timestamp")
	signatures := header.Get("webhook-signature")
	if !idForm.MatchString(id) || timestamp == "" || signatures == "" {
		return errors.New("not signed")
	}
	genuine := false
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		wanted := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for _, signature := range strings.Split(signatures, " ") { // several while a key is being changed
			genuine = hmac.Equal(wanted, []byte(signature)) || genuine
		}
	}
	if !genuine {
		return errors.New("made with another key, or the body was changed")
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if !timeForm.MatchString(timestamp) || err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > tolerance {
		return errors.New("made more than five minutes ago, or ahead of this clock")
	}
	return nil
}

// keep hands the callback over to a worker, once. If it returns an error, the callback comes again.
//
// The worker empties a file when it has done what it says, and removes it after three days: until then, the same
// callback can come again. A table with the id as its primary key does the same.
func keep(inbox, id string, body []byte) error {
	file := filepath.Join(inbox, id+".json")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	part, err := os.CreateTemp(inbox, "part-")
	if err != nil {
		return err
	}
	_, err = part.Write(body)
	if err := errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), file) // now it is there as a whole
}

func main() {
	keys, inbox, port := keysIn(os.Getenv("SIGNING_KEYS")), os.Getenv("INBOX"), "9000"
	if inbox == "" {
		log.Fatal("INBOX is not set")
	}
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, maxBody))
		if err != nil {
			http.Error(response, "a body of at most 2 MiB", http.StatusRequestEntityTooLarge)
			return
		}
		if string(bytes.TrimSpace(body)) == "[]" { // the URL verification: it carries nothing, and no key is known yet
			response.WriteHeader(http.StatusNoContent)
			return
		}
		if err := verify(request.Header, body, keys, time.Now()); err != nil {
			// not 4xx: with a wrong key here, messages would be lost
			http.Error(response, "not verified: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		if err := keep(inbox, request.Header.Get("webhook-id"), body); err != nil {
			log.Print(err)
			http.Error(response, "not kept: send it again", http.StatusInternalServerError)
			return
		}
		response.WriteHeader(http.StatusNoContent)
	})
	server := http.Server{Addr: "127.0.0.1:" + port, ReadTimeout: 30 * time.Second}
	log.Fatal(server.ListenAndServe())
}
