//! Stand-ins for what a registry is reached through: a resolver that says what it is told to, and servers that write down who asked.

use super::destination::Lookup;
use async_trait::async_trait;
use reqwest::Url;
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// A resolver with answers prepared for each name; the last of them stays.
#[derive(Debug)]
pub(super) struct Answers {
    prepared: Mutex<HashMap<&'static str, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
    proxied: bool,
}

impl Answers {
    pub(super) fn new<const N: usize>(prepared: [(&'static str, Vec<Vec<&str>>); N]) -> Arc<Self> {
        Arc::new(Self::prepared(prepared, false))
    }

    /// The same, where every request goes to a proxy.
    pub(super) fn behind_a_proxy<const N: usize>(prepared: [(&'static str, Vec<Vec<&str>>); N]) -> Arc<Self> {
        Arc::new(Self::prepared(prepared, true))
    }

    fn prepared<const N: usize>(prepared: [(&'static str, Vec<Vec<&str>>); N], proxied: bool) -> Self {
        let parse = |answer: Vec<&str>| answer.into_iter().map(|address| address.parse().unwrap()).collect();
        let prepared = prepared.into_iter().map(|(name, answers)| (name, answers.into_iter().map(parse).collect())).collect();
        Self { prepared: Mutex::new(prepared), asked: Mutex::default(), proxied }
    }

    /// The names it was asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Lookup for Answers {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let mut prepared = self.prepared.lock().unwrap();
        let answers = prepared.get_mut(host).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }

    fn is_proxied(&self, _: &Url) -> bool {
        self.proxied
    }
}

/// A server that answers everything alike and closes the connection.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<String>>,
}

impl Server {
    pub(super) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), heads: Arc::default(), answer: Arc::default() };
        let (heads, answer) = (server.heads.clone(), server.answer.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 16 * 1024];
                let mut length = 0;
                // What speaks TLS is sent away.
                while !head[..length].ends_with(b"\r\n\r\n") && head[0] != 0x16 {
                    match stream.read(&mut head[length..]).await {
                        Ok(0) | Err(_) => break,
                        Ok(more) => length += more,
                    }
                }
                heads.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
                if head[0] != 0x16 {
                    let answer = answer.lock().unwrap().clone();
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        server
    }

    /// Answers with this status line and these headers from now on.
    pub(super) fn answers(&self, head: &str) {
        *self.answer.lock().unwrap() = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }

    /// The heads of the requests that came since it was last asked; what speaks TLS has one too.
    pub(super) fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}
