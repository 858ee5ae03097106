//! Coders in modules of their own, private ones of a public endpoint, and generic ones; handlers in any module.
#![deny(warnings)]

mod coders {
    use endpoint_runtime::prelude::*;
    use endpoint_runtime::{BinaryEncoder, TextDecoder, TextEncoder};

    #[derive(Default)]
    pub struct Point(pub i32);

    #[derive(Default)]
    pub(crate) struct FromText<T>(std::marker::PhantomData<fn() -> T>);

    impl TextDecoder for FromText<Point> {
        type Object = Point;
        fn decode(&mut self, text: Text) -> Result<Point, Error> {
            text.parse().map(Point).map_err(|error| Error::decode(text, error))
        }
    }

    #[derive(Default)]
    pub(crate) struct ToText;

    impl TextEncoder for ToText {
        type Object = Point;
        fn encode(&mut self, point: &Point) -> Result<Text, Error> {
            Ok(point.0.to_string().into())
        }
    }

    #[derive(Default)]
    pub(crate) struct ToBinary;

    impl BinaryEncoder for ToBinary {
        type Object = Vec<Point>;
        fn encode(&mut self, points: &Vec<Point>) -> Result<Binary, Error> {
            Ok(points.iter().map(|point| point.0 as u8).collect::<Vec<u8>>().into())
        }
    }
}

pub mod endpoint {
    use crate::coders::{FromText, Point, ToBinary, ToText};
    use endpoint_runtime::prelude::*;

    #[server_endpoint("/points", decoders(FromText<Point>,), encoders(ToText, crate::coders::ToBinary))]
    #[derive(Default)]
    pub struct Points {
        pub(crate) points: Vec<Point>,
    }

    #[server_endpoint("/others", decoders(FromText<Point>), encoders(ToBinary), idle_timeout = "1s")]
    #[derive(Default)]
    pub struct Others;

    impl Others {
        #[on_message(text)]
        fn take(&self, _: &Point) -> &'static str {
            "thanks"
        }
    }
}

mod handlers {
    use crate::coders::Point;
    use crate::endpoint::Points;
    use endpoint_runtime::prelude::*;

    impl Points {
        #[on_message(text)]
        async fn take(&mut self, point: Point, session: &Session) -> Result<Option<Point>, Error> {
            session.basic_remote().send_text("thanks").await?;
            self.points.push(point);
            Ok(self.points.pop())
        }

        #[on_message]
        fn all(&mut self, _: &[u8]) -> Vec<Point> {
            std::mem::take(&mut self.points)
        }
    }
}

fn main() {}
