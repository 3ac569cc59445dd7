package main

import (
	"context"
	"net"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/session"
	"github.com/gofiber/storage/redis/v3"
)

func fiberMemory(context.Context, string) (*app, error) {
	return onFiber(nil), nil
}

func fiberRedis(_ context.Context, url string) (*app, error) {
	return onFiber(redis.New(redis.Config{URL: url, PoolSize: redisPool})), nil
}

// onFiber serves with Fiber's session middleware. A nil storage means Fiber's own one in
// memory.
func onFiber(storage fiber.Storage) *app {
	middleware, store := session.NewWithStore(session.Config{Storage: storage, IdleTimeout: lifetime})
	store.RegisterType(user{})
	f := fiber.New()
	f.Use(middleware)
	f.Get("/", func(c fiber.Ctx) error {
		u, ok := session.FromContext(c).Get("user").(user)
		if !ok {
			u.Name = anonymous
		}
		return c.SendString(u.Name)
	})
	f.Post("/login", func(c fiber.Ctx) error {
		u, err := parseUser(c.Query("user"), c.Query("size"))
		if err != nil {
			return err
		}
		s := session.FromContext(c)
		if err := s.Regenerate(); err != nil {
			return err
		}
		s.Set("user", u)
		return c.SendString(u.Name)
	})
	f.Post("/change", func(c fiber.Ctx) error {
		s := session.FromContext(c)
		n, _ := s.Get("n").(int)
		n++
		s.Set("n", n)
		u, _ := s.Get("user").(user)
		return c.SendString(changeText(u, n))
	})
	return &app{serve: func(l net.Listener) error {
		return f.Listener(l, fiber.ListenConfig{DisableStartupMessage: true})
	}}
}
