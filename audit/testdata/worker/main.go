// Command worker is an application as many are: one of several instances holds a lock in
// Redis, does a piece of work every now and then, and writes it to a resource by HTTP. It
// knows nothing of lockaudit.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	name    = flag.String("name", "", "of this instance")
	address = flag.String("redis", "", "host:port")
	key     = flag.String("key", "", "of the lock")
	ttl     = flag.Duration("ttl", 2*time.Second, "of the lock")
	url     = flag.String("url", "", "where the work is written")
	pidFile = flag.String("pid-file", "", "")
	leaves  = flag.Bool("leave", false, "end when the lock is lost")
	bold    = flag.Bool("bold", false, "write again and again, whatever the answer and the lock")
	anon    = flag.Bool("anonymous", false, "a random value in the lock")
	every   = flag.Duration("every", 100*time.Millisecond, "how often it tries to take the lock")
	idle    = flag.Bool("idle", false, "hold the lock and write nothing")
	says    = flag.Int("pid", os.Getpid(), "that it writes into the lock")
	sidecar = flag.Bool("sidecar", false, "renew the lock of the process of -pid, and do nothing else")
)

var renew = redis.NewScript(`if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0`)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if *pidFile != "" {
		if err := os.WriteFile(*pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	rdb := redis.NewClient(&redis.Options{Addr: *address, MaxRetries: -1})
	ctx := context.Background()
	value := fmt.Sprintf("%s:%d", *name, *says)
	if *anon {
		value = strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	for ; ; time.Sleep(*every) {
		if *sidecar {
			_ = renew.Run(ctx, rdb, []string{*key}, value, ttl.Milliseconds()).Err()
			continue
		}
		got, err := rdb.SetNX(ctx, *key, value, *ttl).Result()
		if err != nil || !got {
			continue
		}
		token, err := rdb.Incr(ctx, *key+":token").Result()
		if err != nil {
			continue
		}
		log.Printf("acquired token=%d", token)
		hold(ctx, rdb, value, token)
		if *leaves {
			log.Fatal("lost the lock")
		}
	}
}

// hold works until the lock is lost: it renews, works, and writes.
func hold(ctx context.Context, rdb *redis.Client, value string, token int64) {
	for i := 0; ; i++ {
		n, err := renew.Run(ctx, rdb, []string{*key}, value, ttl.Milliseconds()).Int()
		if (err != nil || n == 0) && !*bold {
			log.Printf("lost token=%d", token)
			return
		}
		time.Sleep(*ttl / 4) // the work
		if *idle {
			continue
		}
		if err := write(token, i); err != nil {
			log.Printf("refused token=%d: %v", token, err)
			continue
		}
		log.Printf("wrote token=%d", token)
	}
}

var client = http.Client{Timeout: time.Second}

func write(token int64, i int) error {
	body, err := json.Marshal(map[string]string{"value": fmt.Sprint(*name, i), "op_id": fmt.Sprint(*name, token, i)})
	if err != nil {
		return err
	}
	request, err := http.NewRequest(http.MethodPost, *url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Fencing-Token", strconv.FormatInt(token, 10))
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return errors.New(answer.Status)
	}
	return nil
}
